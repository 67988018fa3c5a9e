"""A fold changes how a mart is stored and nothing that it says, whoever else commits and whatever dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import compact_marts as job
from jobs import tile
from jobs.build_mart import Build
from jobs.compact_marts import Compaction
from jobs.report import Built
from jobs.tile import commit_tile, take_turn
from lake.cuts import EPOCH
from lake.errors import TileRefused
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Manifest, Mart, mart_uri
from lake.raw_schema import RAW_SCHEMA
from tests.conftest import Sandbox
from tests.jobs.held_puts import held_puts
from tests.jobs.landed import Landed, event

ROOT = Path(__file__).parents[2]
VIEW = "revenue_by_country_hour"
HOUR = timedelta(hours=1)
DAY = datetime(2026, 11, 18, tzinfo=UTC)
# Two slices of a month that is past, two of a day that is past, and the newest.
ENDS = [
    datetime(2026, 9, 10, 6, tzinfo=UTC),
    datetime(2026, 9, 12, 18, tzinfo=UTC),
    DAY + 12 * HOUR,
    DAY + 24 * HOUR,
    DAY + 81 * HOUR,
]


def mart(sandbox: Sandbox, view: str = VIEW) -> Mart:
    kernel = Kernel(sandbox.domain)
    return Mart(sandbox.settings, sandbox.domain.name, view, kernel.schema(view), kernel.definition_hash(view))


def merged(sandbox: Sandbox, view: str = VIEW) -> pa.Table:
    return Kernel(sandbox.domain).merge(view, mart(sandbox, view).snapshot().states)


def tiles(sandbox: Sandbox, view: str = VIEW) -> list[Manifest]:
    return mart(sandbox, view).snapshot().tiles


def command(sandbox: Sandbox) -> list[str]:
    return [sys.executable, "-m", "jobs.compact_marts", "--domain", sandbox.domain.name, "--json"]


def compact(sandbox: Sandbox) -> Compaction:
    compaction = Compaction(sandbox.settings, sandbox.domain, None, print)
    compaction.run()
    return compaction


# Slices that were built from raw, folded.


@dataclass(frozen=True)
class Lake:
    sandbox: Sandbox
    before: dict[str, tuple[list[Manifest], pa.Table]]
    done: Compaction
    build: Callable[..., list[Built]]


@pytest.fixture(scope="module")
def lake(make_sandbox, spark) -> Lake:
    sandbox = make_sandbox()
    landed = Landed(sandbox.settings, sandbox.domain)
    for end in ENDS:
        landed.events(end - 3 * HOUR, 10_000, 120)
        landed.seal(end)

    def build(t1: datetime, t0: datetime | None = None, views: list[str] | None = None) -> list[Built]:
        build = Build(sandbox.settings, sandbox.domain, t1, print)
        build.run(views or [VIEW], t0)
        if build.refused:
            raise build.refused[0]
        return build.built

    for number, end in enumerate(ENDS):
        build(end, views=[VIEW, QUARANTINE] if number < 3 else [VIEW])
    before = {view: (tiles(sandbox, view), merged(sandbox, view)) for view in (VIEW, QUARANTINE)}
    return Lake(sandbox, before, compact(sandbox), build)


def test_answers_and_frontier_are_what_they_were_in_fewer_tiles_whose_counts_add_up(lake):
    assert lake.done.refused == []
    for view, ends in ((VIEW, [1, 3, 4]), (QUARANTINE, [1, 2])):
        old, states = lake.before[view]
        now = tiles(lake.sandbox, view)
        assert [tile.t1 for tile in now] == [ENDS[n] for n in ends]
        assert merged(lake.sandbox, view).equals(states) and len(states) > 0
        assert (now[-1], now[0].t0) == (old[-1], EPOCH)
        for name in ("events", "good", "quarantined", "markers"):
            assert sum(getattr(tile, name) for tile in now) == sum(getattr(tile, name) for tile in old)
    [by_month, _] = [each for each in lake.done.folded if each.view == VIEW]
    first = tiles(lake.sandbox)[0]
    assert (by_month.tiles, by_month.rows, by_month.events) == (2, first.rows, first.events)
    assert by_month.rows <= by_month.rows_before == sum(tile.rows for tile in lake.before[VIEW][0][:2])


def test_what_is_folded_is_not_folded_again_and_spark_is_not_even_started(lake):
    done = subprocess.run(command(lake.sandbox), cwd=ROOT, env=lake.sandbox.environment, capture_output=True, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, answer["folded"], answer["refused"]) == (0, [], [])
    assert "starting Spark" not in done.stderr


def test_a_rerun_of_a_folded_slice_is_refused_and_the_whole_tile_it_names_can_be_rebuilt(lake):
    whole = r"rebuild that tile as a whole, with --t0 2026-09-12T18:00:00Z --t1 2026-11-19T00:00:00Z"
    for t0, t1 in pairwise(ENDS[1:4]):
        with pytest.raises(TileRefused, match=whole):
            lake.build(t1, t0)
    assert [built.action for built in lake.build(ENDS[3], ENDS[1])] == ["replace"]
    assert merged(lake.sandbox).equals(lake.before[VIEW][1])
    assert [tile.t1 for tile in tiles(lake.sandbox)] == [ENDS[n] for n in (1, 3, 4)]


# Tiles made by the kernel alone, and somebody who commits between a fold's reading and its commit.


@dataclass(frozen=True)
class Few:
    """Three tiles; the first two are of one day that is past."""

    sandbox: Sandbox
    uri: str

    def commit(self, like: Manifest, **changes: object) -> None:
        """As a builder, a tile without states."""
        manifest = like.model_copy(update={"rows": 0, **changes})
        turn = take_turn(self.sandbox.settings, self.uri, manifest)
        schema = Kernel(self.sandbox.domain).schema(VIEW)
        commit_tile(self.sandbox.settings, turn, schema, schema.empty_table())

    def rebuild(self) -> None:
        self.commit(tiles(self.sandbox)[1], build_id="rebuilt")

    def append(self) -> None:
        last = tiles(self.sandbox)[-1]
        self.commit(last, t0=last.t1, t1=last.t1 + HOUR, cut_start=last.cut_end, build_id="appended")

    def fold(self) -> None:
        assert compact(self.sandbox).refused == []


@pytest.fixture(params=["by delta-rs", "by Spark"])
def few(request, sandbox, spark, monkeypatch) -> Few:
    if request.param == "by Spark":
        monkeypatch.setattr(job, "LARGE_BYTES", 0)
    kernel, source = Kernel(sandbox.domain), random.Random(1)
    definition = kernel.definition_hash(VIEW)
    uri = mart_uri(sandbox.settings, sandbox.domain.name, VIEW, definition)
    ends = [EPOCH, DAY + 6 * HOUR, DAY + 12 * HOUR, DAY + 72 * HOUR]
    for number, (t0, t1) in enumerate(pairwise(ends)):
        values = [event(source, t1) for _ in range(60)]
        rows = [
            {"partition": 0, "offset": 60 * number + n, "append_time": t0, "key": None, "value": value, "headers": []}
            for n, value in enumerate(values)
        ]
        states = kernel.run(pa.Table.from_pylist(rows, schema=RAW_SCHEMA))[VIEW]
        manifest = Manifest(
            t0=t0, t1=t1, cut_start={0: 60 * number} if number else {}, cut_end={0: 60 * (number + 1)},
            definition_hash=definition, rows=len(states), events=60, good=60, quarantined=0, markers=0,
            build_id=f"built {number}",
        )  # fmt: skip
        commit_tile(sandbox.settings, take_turn(sandbox.settings, uri, manifest), states.schema, states)
    return Few(sandbox, uri)


def disturb(monkeypatch, other: Callable[[], None]) -> None:
    """Let `other` commit once a fold has read its tiles."""
    commits = {name: getattr(job, name) for name in ("commit_tile", "commit_large_tile")}

    def later(commit: Callable[..., None], *arguments: object) -> None:
        for name, original in commits.items():
            monkeypatch.setattr(job, name, original)
        other()
        commit(*arguments)

    for name, commit in commits.items():
        monkeypatch.setattr(job, name, partial(later, commit))


@pytest.mark.parametrize("who", ["rebuild", "append", "fold"])
def test_a_fold_loses_to_whoever_commits_after_it_has_read_and_says_so(few, monkeypatch, who):
    disturb(monkeypatch, getattr(few, who))
    loser = compact(few.sandbox)
    [refusal] = loser.refused
    assert isinstance(refusal, TileRefused) and "another build or fold has committed" in str(refusal)
    assert loser.folded == []
    ids = [tile.build_id for tile in tiles(few.sandbox)]
    if who == "fold":
        assert len(ids) == 2 and ids[1] == "built 2"
    else:
        assert (
            ids
            == {
                "rebuild": ["built 0", "rebuilt", "built 2"],
                "append": ["built 0", "built 1", "built 2", "appended"],
            }[who]
        )
        assert len(compact(few.sandbox).folded) == 1, "run again, it folds what is there now"


def test_without_the_transaction_id_a_fold_takes_back_what_was_rebuilt_meanwhile(few, monkeypatch):
    before = merged(few.sandbox)
    disturb(monkeypatch, few.rebuild)
    monkeypatch.setattr(tile.Turn, "guard", {})
    assert compact(few.sandbox).refused == []
    assert [each.t0 for each in tiles(few.sandbox)] == [EPOCH, DAY + 12 * HOUR]
    assert merged(few.sandbox).equals(before), "the states that the rebuild had replaced"


def test_a_tile_that_was_replaced_since_the_plan_was_made_is_not_folded(few):
    planned = tiles(few.sandbox)[:2]
    few.rebuild()
    with pytest.raises(TileRefused, match="somebody else has committed it since"):
        Compaction(few.sandbox.settings, few.sandbox.domain, None, print).fold(VIEW, planned)
    assert [each.build_id for each in tiles(few.sandbox)] == ["built 0", "rebuilt", "built 2"]


def test_a_fold_that_is_killed_before_its_commit_changes_nothing_and_is_run_again(few):
    before = tiles(few.sandbox), merged(few.sandbox)
    with held_puts(few.sandbox.settings.s3_endpoint, "_delta_log/") as proxy:
        environment = few.sandbox.environment | {"TIDEMARK_S3_ENDPOINT": proxy.endpoint}
        process = subprocess.Popen(
            command(few.sandbox), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            assert proxy.held.wait(120), f"it ended with {process.poll()} before its commit"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (tiles(few.sandbox), merged(few.sandbox)) == before
    [folded] = compact(few.sandbox).folded
    assert (folded.view, folded.tiles, folded.events) == (VIEW, 2, 120)
    assert len(tiles(few.sandbox)) == 2 and merged(few.sandbox).equals(before[1])
