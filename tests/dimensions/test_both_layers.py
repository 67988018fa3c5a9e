"""Dimension versions and repeated events come and go while both layers work: one answer, and it is the right one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from lake.cuts import epoch_ms, format_time, from_ms, segment_start
from lake.dimensions import Dimensions
from lake.kernel import Kernel
from lake.log import Log
from lake.parse import MARKER_HEADER
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.serving import Serving
from lake.store import SpeedStore
from lake.timeline import ANNOUNCEMENT_HEADER
from lake.verify import verify
from streaming.group_reader import GroupReader
from streaming.history import History
from streaming.land import Lander
from streaming.produce import EventProducer
from streaming.repeats import Past, RepeatFinder
from streaming.states import SegmentStates

ROOT = Path(__file__).parents[2]
VISITS = Path(__file__).with_name("visits.yaml")
SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
USERS = [f"u{n}" for n in range(12)]
COUNTRIES = ["DE", "FR", "IT", "PL"]
SEGMENT_SECONDS, WINDOW_SEGMENTS = 1, 2


class NoPast:
    """Forgets what was before it, as a reader would that does not read back."""

    def read(self, partition: int, since_ms: int, end: int) -> pa.Table:
        return RAW_SCHEMA.empty_table()


@dataclass
class Platform:
    """Lander and speed layer of one sandbox, in threads; the speed layer can be made anew as after a kill."""

    sandbox: object
    past: Past | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    renew: threading.Event = field(default_factory=threading.Event)
    source: random.Random = field(default_factory=lambda: random.Random(SEED))
    dimension: dict[int, dict[str, tuple[str, str]]] = field(default_factory=dict)
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings, domain = self.sandbox.settings, self.sandbox.domain
        self.raw = Raw(settings, domain)
        self.raw.create(Log(settings, domain).topic_id())
        lander = Lander(settings, domain, self.raw, self.stop)
        self.threads = [threading.Thread(target=self._guarded, args=[run]) for run in (lander.run, self._speed)]
        for thread in self.threads:
            thread.start()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self.failed.append(error)

    def _speed(self) -> None:
        settings, domain = self.sandbox.settings, self.sandbox.domain
        while not self.stop.is_set():
            self.renew.clear()
            kernel = Kernel(domain, Dimensions(settings).table)
            store = SpeedStore(settings.store_url, kernel.generation(SEGMENT_SECONDS), domain.name)
            reader = GroupReader(settings, domain, store, lambda: ({}, {}))
            past = self.past or History(settings, domain)
            repeats = RepeatFinder(kernel, domain.dedup, SEGMENT_SECONDS, past)
            states = SegmentStates(store, kernel, tuple(domain.stored_views), repeats)
            while not self.stop.is_set() and not self.renew.is_set():
                chunk = reader.poll(0.05)
                if chunk is not None and states.put(chunk):
                    reader.close()
            reader.close()

    def load(self, tmp_path: Path) -> None:
        """A new version of the users, through the command line."""
        version = len(self.dimension) + 1
        chosen = {u: (self.source.choice(COUNTRIES), f"{self.source.randrange(500) / 100:.2f}") for u in USERS[:-2]}
        file = tmp_path / "users.csv"
        file.write_text("key,country,discount\n" + "".join(f"{u},{c},{d}\n" for u, (c, d) in chosen.items()))
        command = [sys.executable, "-m", "lake.cli", "dimension", "load", "users", str(file), "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.sandbox.environment, capture_output=True, check=True)
        assert json.loads(done.stdout)["version"] == version
        self.dimension[version] = chosen

    def visit(self, seconds: float) -> None:
        """Events for so long: new ones, some sent again soon or late, some sent again changed, some bad."""
        producer = EventProducer(self.sandbox.settings, self.sandbox.domain.topic)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(20):
                producer.send(*self._record(), "good")
            producer.poll(0)
            time.sleep(0.02)  # a rate, not a wait
        producer.close()

    def _record(self) -> tuple[bytes, bytes]:
        dice = self.source.random()
        if self.sent and dice < 0.3:
            recent = self.sent[-150:] if dice < 0.2 else self.sent
            key, value = self.source.choice(recent)
            return (key, value.replace(b'"said"', b'"note"')) if dice < 0.04 else (key, value)
        key = b"%016x" % self.source.getrandbits(64)
        event = {"visit": key.decode(), "at": 1_795_000_000_000, "user": self.source.choice(USERS), "said": "x"}
        event["country"] = self.source.choice(["DE", "XX"])
        value = b"bad" if dice > 0.98 else json.dumps(event).encode()
        self.sent.append((key, value))
        return key, value

    def await_head(self) -> None:
        end = Log(self.sandbox.settings, self.sandbox.domain).end()
        self.raw.await_positions(end, 60)
        serving = Serving(self.sandbox.settings, self.sandbox.domain)
        deadline = time.monotonic() + 60
        while serving.answer("visits_in_all").head != end:
            assert not self.failed, self.failed
            assert time.monotonic() < deadline, "the speed layer does not come to the head"
            time.sleep(0.05)

    def reference(self) -> tuple[dict, int]:
        """What is true, in plain Python over the records as they stand in the log."""
        rows = pa.concat_tables(self.raw.scan({}, Log(self.sandbox.settings, self.sandbox.domain).end()))
        by_country: dict[tuple, list] = {}
        count, running, known = 0, {}, {}
        announced: dict[int, list[tuple[int, int]]] = {}
        for row in rows.sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist():
            p = row["partition"]
            running[p] = max(running.get(p, 0), epoch_ms(row["append_time"]))
            segment = running[p] // (SEGMENT_SECONDS * 1000)
            if row["value"] is None:
                headers = {h["key"]: h["value"] for h in row["headers"]}
                assert MARKER_HEADER in headers
                if ANNOUNCEMENT_HEADER in headers:
                    version = json.loads(headers[ANNOUNCEMENT_HEADER])["version"]
                    announced.setdefault(p, []).append((segment, version))
                continue
            if row["value"] == b"bad":
                continue
            event = json.loads(row["value"])
            before = known.get((p, event["visit"]))
            known[p, event["visit"]] = segment
            if before is not None and segment - before < WINDOW_SEGMENTS:
                continue
            count += 1
            version = max([v for s, v in announced.get(p, []) if s < segment], default=0)
            country, discount = self.dimension.get(version, {}).get(event["user"], (None, None))
            state = by_country.setdefault((country, event["country"]), [0, None])
            state[0] += 1
            if discount is not None:
                state[1] = (state[1] or Decimal(0)) + Decimal(discount)
        return {key: tuple(state) for key, state in by_country.items()}, count

    def close(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


@pytest.fixture
def platform(make_sandbox) -> Iterator[Callable[..., Platform]]:
    print(f"TEST_SEED={SEED}")
    started: list[Platform] = []

    def start(past: Past | None = None) -> Platform:
        sandbox = make_sandbox(VISITS, 3, segment_seconds=SEGMENT_SECONDS, land_interval_seconds=0.3)
        started.append(Platform(sandbox, past))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_batch_speed_and_plain_python_agree_while_versions_and_duplicates_come(platform, tmp_path: Path) -> None:
    run = platform()
    run.visit(1.5)
    for _ in range(2):
        run.load(tmp_path)
        run.visit(2.5)
        run.renew.set()
        run.visit(1)
    t1 = from_ms(segment_start(time.time_ns() // 1_000_000, SEGMENT_SECONDS) + SEGMENT_SECONDS * 1000)
    run.visit(2)
    _build(run, t1)
    run.load(tmp_path)
    run.visit(2.5)
    run.renew.set()
    run.visit(1)
    run.await_head()
    expected, count = run.reference()
    serving = Serving(run.sandbox.settings, run.sandbox.domain)
    answer = serving.answer("visits_by_country")
    found = {(r["country"], r["said"]): (r["visits"], r["discount"]) for r in serving.values(answer).to_pylist()}
    assert found == expected
    assert serving.values(serving.answer("visits_in_all")).to_pylist() == [{"visits": count}]
    assert len(answer.batch) and len(answer.speed) and answer.frontier == t1
    report = verify(run.sandbox.settings, run.sandbox.domain)
    assert report.ok, report.problems
    assert sum(p["duplicates"] for p in report.partitions) > 50
    assert sum(p["quarantined"] for p in report.partitions) > 10
    t2 = from_ms(segment_start(time.time_ns() // 1_000_000, SEGMENT_SECONDS))
    _build(run, t2)
    answer = serving.answer("visits_by_country")
    found = {(r["country"], r["said"]): (r["visits"], r["discount"]) for r in serving.values(answer).to_pylist()}
    assert found == expected and answer.frontier == t2
    assert verify(run.sandbox.settings, run.sandbox.domain).ok


def test_without_reading_back_verify_finds_events_that_were_counted_twice(platform) -> None:
    run = platform(NoPast())
    for _ in range(4):
        run.visit(1)
        run.renew.set()
    run.visit(1)
    run.await_head()
    report = verify(run.sandbox.settings, run.sandbox.domain)
    assert not report.ok
    assert any("visits_in_all: 1 rows differ" in problem for problem in report.problems)


def _build(run: Platform, t1: datetime) -> None:
    arguments = ["--domain", run.sandbox.domain.name]
    for command in (
        ["lake.cli", "seal", *arguments, "--at", format_time(t1)],
        ["jobs.build_mart", *arguments, "--t1", format_time(t1)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=run.sandbox.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
