"""A build gives the states that the kernel gives, once, whoever else builds at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from jobs import build_mart, tile
from jobs.columns import spark_schema
from jobs.tile import commit_large_tile, commit_tile, take_turn
from lake.cuts import EPOCH, count
from lake.errors import NotSealed, RawDamaged, TileRefused
from lake.kernel import COUNTS, Kernel
from lake.marts import Manifest, Mart, mart_uri
from lake.store import Piece, SpeedStore
from lake.tables import filesystem
from tests.jobs.conftest import NINE

ROOT = Path(__file__).parents[2]
VIEW = "revenue_by_country_hour"
Commit = Callable[[tile.Turn], None]
TEN, ELEVEN = NINE + timedelta(hours=1), NINE + timedelta(hours=2)


def _mart(sandbox, view: str = VIEW) -> Mart:
    kernel = Kernel(sandbox.domain)
    return Mart(sandbox.settings, sandbox.domain.name, view, kernel.schema(view), kernel.definition_hash(view))


def _expected(sandbox, landed, view: str, end) -> pa.Table:
    kernel = Kernel(sandbox.domain)
    return kernel.merge(view, [kernel.run(part)[view] for part in landed.raw.scan({}, landed.raw.cut(end))])


def _served(sandbox, view: str = VIEW) -> pa.Table:
    return Kernel(sandbox.domain).merge(view, _mart(sandbox, view).snapshot().states)


def _spans(sandbox) -> list[str]:
    return [m.span for m in _mart(sandbox).snapshot().tiles]


def _two_hours(landed) -> None:
    landed.events(NINE - timedelta(hours=1), 3600, 300)
    landed.seal(NINE)
    landed.events(NINE + timedelta(minutes=1), 3000, 300)
    landed.seal(TEN)


def test_two_slices_hold_the_kernels_states_and_their_counts_add_up_to_their_offsets(sandbox, landed, build):
    _two_hours(landed)
    built = build(NINE) + build(TEN)
    for view in Kernel(sandbox.domain).names:
        if view != COUNTS:
            assert _served(sandbox, view).equals(_expected(sandbox, landed, view, TEN)), view
            assert _mart(sandbox, view).snapshot().cut == landed.raw.cut(TEN)
    assert {b.action for b in built} == {"append"}
    for manifest in _mart(sandbox).snapshot().tiles:
        assert count(manifest.cut_start, manifest.cut_end) == manifest.events
        assert manifest.events == manifest.good + manifest.quarantined + manifest.markers
    assert [m.markers for m in _mart(sandbox).snapshot().tiles] == [0, sandbox.domain.partitions]
    assert _mart(sandbox).snapshot().tiles[0].quarantined > 0


@pytest.mark.parametrize("large", [(0, 1), (1, 0)])
def test_states_too_large_for_this_process_are_written_by_spark_beside_the_others(
    sandbox, landed, build, monkeypatch, large
):
    _two_hours(landed)
    for t1, by_spark in zip((NINE, TEN), large, strict=True):
        monkeypatch.setattr(build_mart, "LARGE_BYTES", 0 if by_spark else 32 << 20)
        build(t1)
    for t0, t1 in ((EPOCH, NINE), (NINE, TEN)):
        assert {b.action for b in build(t1, t0)} == {"replace"}
    for view in Kernel(sandbox.domain).names:
        if view != COUNTS:
            assert _served(sandbox, view).equals(_expected(sandbox, landed, view, TEN)), view


def test_a_slice_rebuilt_twice_keeps_its_rows_and_a_build_without_t0_finds_it_done(sandbox, landed, build):
    _two_hours(landed)
    build(NINE, views=[VIEW])
    build(TEN, views=[VIEW])
    before = _served(sandbox)
    assert [b.action for _ in range(2) for b in build(NINE, EPOCH, [VIEW])] == ["replace", "replace"]
    assert [b.action for b in build(TEN, views=[VIEW])] == ["present"]
    assert _served(sandbox).equals(before)
    assert len(_spans(sandbox)) == 2


def test_a_slice_without_events_is_a_manifest_alone(sandbox, landed, build):
    landed.seal(NINE)
    assert [(b.rows, b.events) for b in build(NINE)] == [(0, 0)] * (len(sandbox.domain.stored_views) + 1)
    assert _mart(sandbox).snapshot().frontier == NINE
    assert _served(sandbox).num_rows == 0


def test_a_slice_beyond_the_frontier_is_refused_and_says_what_to_build_first(sandbox, landed, build):
    _two_hours(landed)
    with pytest.raises(TileRefused, match=r"build \[1970-01-01T00:00:00Z, 2026-11-21T09:00:00Z\) first"):
        build(TEN, NINE, [VIEW])
    assert _spans(sandbox) == []


def test_a_cut_that_is_not_sealed_or_not_between_segments_is_refused(sandbox, landed, build):
    _two_hours(landed)
    with pytest.raises(NotSealed, match="tidemark seal"):
        build(ELEVEN)
    with pytest.raises(TileRefused, match="within a segment of 10 s"):
        build(NINE + timedelta(seconds=3))


@pytest.mark.parametrize(("damage", "message"), [("skip", "lacks offsets"), ("again", "holds twice")])
def test_raw_with_a_hole_or_a_double_is_named_and_nothing_is_committed(sandbox, landed, build, damage, message):
    landed.events(NINE - timedelta(minutes=2), 60, 40)
    getattr(landed, damage)(2)
    landed.events(NINE - timedelta(minutes=1), 60, 40)
    landed.seal(NINE)
    with pytest.raises(RawDamaged, match=rf"{message}.*partition 2"):
        build(NINE, views=[VIEW])
    assert _spans(sandbox) == []


def test_a_lost_raw_file_is_named(sandbox, landed, build):
    _two_hours(landed)
    first = landed.raw.files(landed.raw.table())[0].path
    filesystem(sandbox.settings).delete_file(f"{landed.raw.uri}/{first}".removeprefix("s3://"))
    with pytest.raises(RawDamaged, match=Path(first).name):
        build(NINE, views=[VIEW])


def test_values_of_2_mib_do_not_fill_the_memory_of_a_task(sandbox, landed, build):
    """Bounded in rows alone, 150 of them would need more than the driver's 1 GiB, and so would their quarantine."""
    values = [f'{{"event_id": "{i}'.encode().ljust(2 << 20, b"x") for i in range(150)]
    landed.values(NINE - timedelta(minutes=1), values)
    landed.seal(NINE)
    built = build(NINE, views=["_quarantine"])
    assert [(b.rows, b.quarantined) for b in built] == [(150, 150)]
    stored = _mart(sandbox, "_quarantine").snapshot().states
    assert sorted(v.as_py() for table in stored for v in table["value"]) == sorted(values)


# Two builders. A turn is what a builder holds between looking at the mart and committing; keeping one while others
# build is a builder that was paused there.


def _turn(sandbox, landed, t0, t1, build_id: str) -> tile.Turn:
    cuts = landed.raw.cut(t0), landed.raw.cut(t1)
    definition = Kernel(sandbox.domain).definition_hash(VIEW)
    manifest = Manifest(
        t0=t0, t1=t1, cut_start=cuts[0], cut_end=cuts[1], build_id=build_id, definition_hash=definition,
        rows=0, events=0, good=0, quarantined=0, markers=0,
    )  # fmt: skip
    uri = mart_uri(sandbox.settings, sandbox.domain.name, VIEW, definition)
    return take_turn(sandbox.settings, uri, manifest)


@pytest.fixture(params=["by delta-rs", "by Spark"])
def commit(request, sandbox, spark) -> Commit:
    """Commits a tile without rows."""
    schema = Kernel(sandbox.domain).schema(VIEW)
    if request.param == "by Spark":
        return lambda turn: commit_large_tile(spark, sandbox.settings, turn, spark_schema(schema), None)
    return lambda turn: commit_tile(sandbox.settings, turn, schema, schema.empty_table())


def _commit_after(wait, commit: Commit, turn: tile.Turn) -> None:
    wait()
    commit(turn)


def test_a_zombie_that_commits_after_its_retry_is_refused(sandbox, landed, commit):
    _two_hours(landed)
    zombie = _turn(sandbox, landed, EPOCH, NINE, "zombie")
    commit(_turn(sandbox, landed, EPOCH, TEN, "retry"))
    with pytest.raises(TileRefused, match="another build"):
        commit(zombie)
    assert _spans(sandbox) == ["[1970-01-01T00:00:00Z, 2026-11-21T10:00:00Z)"]


def test_without_the_transaction_id_a_zombie_takes_back_the_frontier(sandbox, landed, commit, monkeypatch):
    _two_hours(landed)
    zombie = _turn(sandbox, landed, EPOCH, NINE, "zombie")
    commit(_turn(sandbox, landed, EPOCH, TEN, "retry"))
    monkeypatch.setattr(tile.Turn, "guard", {})
    commit(zombie)
    assert _spans(sandbox) == ["[1970-01-01T00:00:00Z, 2026-11-21T09:00:00Z)"]


def test_of_two_builders_that_commit_at_the_same_moment_one_is_refused(sandbox, landed, commit):
    _two_hours(landed)
    for round_ in range(2):  # the first one makes the table
        turns = [_turn(sandbox, landed, EPOCH, NINE, f"{round_}{name}") for name in "ab"]
        together = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            commits = [pool.submit(_commit_after, together.wait, commit, turn) for turn in turns]
        refused = [t.manifest.build_id for t, c in zip(turns, commits, strict=True) if c.exception()]
        assert {type(c.exception()) for c in commits} == {type(None), TileRefused}
        [kept] = _mart(sandbox).snapshot().tiles
        assert {kept.build_id, *refused} == {f"{round_}a", f"{round_}b"}


def test_a_commit_that_is_no_builders_does_not_stop_a_builder(sandbox, landed, spark, commit):
    _two_hours(landed)
    commit(_turn(sandbox, landed, EPOCH, NINE, "first"))
    turn = _turn(sandbox, landed, NINE, TEN, "second")
    uri = turn.uri.replace("s3://", "s3a://")
    spark.sql(f"alter table delta.`{uri}` set tblproperties ('note' = 'x')")
    assert turn.version == 1
    commit(turn)
    assert len(_spans(sandbox)) == 2


def test_a_mart_whose_metadata_is_written_at_the_moment_of_a_commit_gets_its_tile(sandbox, landed, monkeypatch):
    _two_hours(landed)
    schema = Kernel(sandbox.domain).schema(VIEW)
    judged, changes = tile._judged, 0

    def changed_after(*args):
        nonlocal changes
        table = judged(*args)
        if not changes:
            changes += 1
            DeltaTable(table.table_uri, storage_options=sandbox.settings.storage_options()).alter.set_table_properties(
                {"delta.checkpointInterval": "30"}
            )
        return table

    monkeypatch.setattr(tile, "_judged", changed_after)
    commit_tile(sandbox.settings, _turn(sandbox, landed, EPOCH, NINE, "only"), schema, schema.empty_table())
    assert changes == 1
    assert [kept.build_id for kept in _mart(sandbox).snapshot().tiles] == ["only"]


def test_two_build_commands_at_once_leave_one_tile_a_view_and_each_says_what_it_did(sandbox, landed):
    _two_hours(landed)
    command = [sys.executable, "-m", "jobs.build_mart", "--domain", sandbox.domain.name, "--json"]
    command += ["--t1", "2026-11-21T10:00Z", "--views", f"{VIEW},_quarantine"]
    builders = [
        subprocess.Popen(command, cwd=ROOT, env=sandbox.environment, text=True, stdout=PIPE, stderr=PIPE)
        for _ in range(2)
    ]
    try:
        done = [(*builder.communicate(timeout=300), builder.returncode) for builder in builders]
    finally:
        for builder in builders:
            builder.kill()
    assert {code for *_, code in done} <= {0, 2}, done
    told = [json.loads(out.splitlines()[-1]) for out, *_ in done]
    for view in (VIEW, "_quarantine"):
        [manifest] = _mart(sandbox, view).snapshot().tiles
        assert manifest.t1 == TEN
        assert _served(sandbox, view).equals(_expected(sandbox, landed, view, TEN))
        assert any(view == built["view"] for answer in told for built in answer["views"])
    for answer, (_, errors, code) in zip(told, done, strict=True):
        assert (code == 2) == bool(answer["refused"])
        assert all(refusal in errors for refusal in answer["refused"])


def test_speed_states_are_let_go_one_slice_after_the_marts_have_them(sandbox, landed, build) -> None:
    _two_hours(landed)
    first, second = (landed.raw.cut(t)[0] for t in (NINE, TEN))
    store = SpeedStore(sandbox.settings.store_url, Kernel(sandbox.domain).generation(10), sandbox.domain.name)
    store.open(0, 0, "topic-1")
    ends = [0, first, second, second + 5]
    pieces = [Piece(n * 10_000, *ends[n : n + 2], n * 10_000 + 1, {}) for n in range(3)]
    assert store.put(0, 0, pieces, "topic-1", 0)
    for t, kept in ((NINE, [0, 10_000, 20_000]), (TEN, [10_000, 20_000])):
        build(t)
        assert [segment for _, segment in store.snapshot().segments] == kept
