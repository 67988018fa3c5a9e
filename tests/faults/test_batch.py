"""Any build may be run again, late, out of order or after being killed: the marts equal raw, and who loses says why.

Two builds at once, and what a commit is guarded by, are in tests/jobs/test_build_mart.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.build_mart import Build
from lake.cuts import EPOCH, count, format_time
from lake.errors import TileRefused
from lake.kernel import Kernel
from lake.marts import mart_uri, read_tiles
from lake.raw_schema import RAW_SCHEMA
from tests.faults.gate import Gate, WorkerGate, gate, worker_gate
from tests.faults.parts import ROOT, SEED, wait_for
from tests.jobs.conftest import NINE, spark  # noqa: F401
from tests.jobs.golden import digest, golden, snapshot, stored
from tests.jobs.landed import Landed

TEN = NINE + timedelta(hours=1)
VIEWS = ["revenue_by_country_hour", "visitors_by_page_minute"]


@dataclass
class Driver:
    """`build_mart` for the slice before NINE in a process of its own, which its gate holds."""

    process: subprocess.Popen[str]
    gate: Gate
    log: Path

    def signal(self, number: int) -> None:
        """To the driver and its JVM."""
        os.killpg(self.process.pid, number)

    def await_held(self) -> None:
        wait_for(lambda: self.gate.reached.is_set() or self.process.poll() is not None, "what the gate holds")
        assert self.process.poll() is None, self.log.read_text()[-3000:]

    def end(self) -> tuple[int, str]:
        """The exit code and the document on stdout, once it has ended by itself."""
        out, _ = self.process.communicate(timeout=180)
        return self.process.returncode, out


@dataclass
class Happened:
    """What was said, and what the marts were, as one slice was built in spite of everything."""

    sandbox: object
    refusals: dict[str, list[str]] = field(default_factory=dict)
    spans: dict[str, list[str]] = field(default_factory=dict)
    zombie: tuple[int, str] = (0, "")
    workerless: tuple[int, str] = (0, "")
    """The exit code of the driver that lost a worker, and what it said."""

    def build(self, name: str, t1: datetime, t0: datetime | None = None) -> None:
        """In this process; keeps what was refused and the tiles that the first view then has."""
        build = Build(self.sandbox.settings, self.sandbox.domain, t1, print)
        build.run(VIEWS, t0)
        self.refusals[name] = [str(refusal) for refusal in build.refused]
        self.look(name)

    def look(self, name: str) -> None:
        self.spans[name] = [tile.span for tile in self.snapshot(VIEWS[0]).tiles]

    def snapshot(self, view: str):
        return snapshot(self.sandbox.settings, self.sandbox.domain, view)


@pytest.fixture(scope="module")
def batch(request, make_sandbox, tmp_path_factory) -> Iterator[Happened]:
    """Of three drivers one is killed at its commit, one is stopped there and wakes too late, one loses a worker."""
    sandbox, folder = make_sandbox(), tmp_path_factory.mktemp("drivers")
    _land(sandbox, 1000)
    result = Happened(sandbox)
    with ExitStack() as stack:
        killed, zombie = (_driver(stack, sandbox, folder / f"{number}.log", gate) for number in range(2))
        result.build("the second hour first", TEN, NINE)
        zombie.await_held()
        zombie.signal(signal.SIGSTOP)
        killed.await_held()
        killed.signal(signal.SIGKILL)
        workerless = _driver(stack, sandbox, folder / "workerless.log", worker_gate)
        workerless.await_held()
        assert isinstance(workerless.gate, WorkerGate)
        os.kill(next(iter(workerless.gate.workers)), signal.SIGKILL)
        workerless.gate.open()
        result.workerless = workerless.end()[0], workerless.log.read_text()
        result.look("after the kills")
        request.getfixturevalue("spark")
        result.build("again", NINE)
        result.build("the second hour", TEN, NINE)
        zombie.signal(signal.SIGCONT)
        zombie.gate.open()
        result.zombie = zombie.end()
        result.look("after the zombie")
        yield result


def _land(sandbox, count: int) -> Landed:
    """So many events in each of two hours, which are sealed."""
    landed = Landed(sandbox.settings, sandbox.domain, SEED)
    for end in (NINE, TEN):
        landed.events(end - timedelta(minutes=59), 3400, count)
        landed.seal(end)
    return landed


def _driver(stack: ExitStack, sandbox, log: Path, gate: Callable[[str], AbstractContextManager[Any]]) -> Driver:
    held = stack.enter_context(gate(sandbox.settings.s3_endpoint))
    arguments = ["--domain", sandbox.domain.name, "--t1", format_time(NINE), "--views", ",".join(VIEWS), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.build_mart", *arguments],
        cwd=ROOT,
        env=sandbox.environment | {"TIDEMARK_S3_ENDPOINT": held.endpoint},
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        start_new_session=True,
    )
    driver = Driver(process, held, log)
    stack.callback(_end, driver)
    return driver


def _end(driver: Driver) -> None:
    with suppress(ProcessLookupError):
        driver.signal(signal.SIGKILL)
    driver.process.communicate()


def test_a_driver_that_is_killed_at_its_commit_leaves_nothing(batch: Happened) -> None:
    assert batch.spans["after the kills"] == []
    assert batch.refusals["again"] == [], "the retry was hindered"


def test_a_build_that_loses_a_worker_leaves_nothing_and_says_so_in_a_sentence(batch: Happened) -> None:
    code, said = batch.workerless
    assert code == 2
    assert "Traceback" not in said and "worker" in said.splitlines()[-1]


def test_the_second_hour_is_refused_until_the_first_is_built(batch: Happened) -> None:
    refused = batch.refusals["the second hour first"]
    assert batch.spans["the second hour first"] == [] and len(refused) == len(VIEWS)
    assert all("build [1970-01-01T00:00:00Z, 2026-11-21T09:00:00Z) first" in refusal for refusal in refused)
    assert batch.refusals["the second hour"] == []


def test_a_zombie_that_wakes_at_its_commit_loses_and_says_why(batch: Happened) -> None:
    code, out = batch.zombie
    told = json.loads(out.splitlines()[-1])
    assert code == 2
    [refusal] = told["refused"]
    assert VIEWS[0] in refusal and "has committed to this mart since" in refusal and "again" in refusal
    [other] = told["views"]  # which it came to only then, and found built
    assert (other["view"], other["action"]) == (VIEWS[1], "replace")
    assert batch.spans["after the zombie"] == batch.spans["the second hour"]


def test_after_all_that_every_view_equals_the_kernel_run_over_raw_by_hash(batch: Happened) -> None:
    of = batch.sandbox.settings, batch.sandbox.domain
    expected = golden(*of, TEN, VIEWS)
    assert stored(*of, VIEWS) == expected
    assert all(expected[view] != earlier for view, earlier in golden(*of, NINE, VIEWS).items())
    for view in expected:
        tiles = batch.snapshot(view).tiles
        assert [tile.t1 for tile in tiles] == [NINE, TEN]
        assert all(tile.events == count(tile.cut_start, tile.cut_end) for tile in tiles)


# Whatever is asked for in whatever order.

TIMES = [EPOCH, NINE, TEN]
STEPS = 4


def test_requests_in_any_order_leave_tiles_that_adjoin_and_equal_raw(make_sandbox, spark) -> None:  # noqa: F811
    """Random slices, of which those that are too large for a tile are split; then everything is built up to the end."""
    print(f"TEST_SEED={SEED}")
    chance, sandbox, view = random.Random(SEED), make_sandbox(), VIEWS[0]
    raw, kernel = _land(sandbox, 300).raw, Kernel(sandbox.domain)
    uri = mart_uri(sandbox.settings, sandbox.domain.name, view, kernel.definition_hash(view))
    done: list[str] = []

    def build(t0: datetime | None, t1: datetime, most: int) -> None:
        settings = sandbox.settings.model_copy(update={"tile_events": most})
        build = Build(settings, sandbox.domain, t1, lambda line: None)
        build.build_tiles([view], t0)
        done.append(f"[{t0 and format_time(t0)}, {format_time(t1)}) by {most}: {build.refused or 'built'}")
        assert all(isinstance(refusal, TileRefused) for refusal in build.refused), done

    def check() -> None:
        found = snapshot(sandbox.settings, sandbox.domain, view)
        assert len(found.tiles) == len(read_tiles(sandbox.settings, uri)), done
        for tile, states in zip(found.tiles, found.states, strict=True):
            records = pa.concat_tables([RAW_SCHEMA.empty_table(), *raw.scan(tile.cut_start, tile.cut_end)])
            assert len(records) == tile.events
            assert digest(kernel.merge(view, [states])) == digest(kernel.run(records)[view]), (tile.span, done)

    for _ in range(STEPS):
        t1 = chance.choice(TIMES[1:])
        build(chance.choice([None, *(t for t in TIMES if t < t1)]), t1, chance.choice([200, 1_000_000]))
        check()
    build(None, TEN, 1_000_000)
    check()
    print("\n".join(done))
    assert stored(sandbox.settings, sandbox.domain, [view]) == golden(sandbox.settings, sandbox.domain, TEN, [view])
