"""Compaction makes raw's small files few, and changes nothing else, whatever dies and whoever writes meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError
from pyarrow import fs

from jobs import compact_raw as job
from lake.cuts import EPOCH
from lake.errors import TidemarkError
from lake.kernel import QUARANTINE, Kernel
from lake.marts import MANIFEST, TILE, Manifest, mart_uri
from lake.raw import Raw
from lake.raw_file import group_bounds
from lake.raw_schema import RAW_SCHEMA
from lake.tables import filesystem
from lake.verify import verify
from tests.jobs.held_puts import held_puts
from tests.jobs.landed import Landed
from tests.lake.served import Served

ROOT = Path(__file__).parents[2]
FIRST = datetime(2026, 11, 18, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = FIRST + 3 * DAY
FRONTIER = FIRST + 2 * DAY + timedelta(hours=12)  # so of three days, two are closed
FILES = 4  # a day


def land(landed: Landed, days: int = 3) -> None:
    """Some days, and the seals of the midnights between them and of the frontier."""
    for day in (FIRST + n * DAY for n in range(days)):
        if day > FIRST:
            landed.seal(day)
        for n in range(FILES):
            landed.events(day + n * DAY / FILES, 3000, 40)
            if day + n * DAY / FILES < FRONTIER <= day + (n + 1) * DAY / FILES:
                landed.seal(FRONTIER)


def files_of_days(raw: Raw) -> dict[str, int]:
    return dict(sorted(Counter(str(file.date) for file in raw.files(raw.table())).items()))


def records(raw: Raw, version: int | None = None) -> pa.Table:
    table = raw.table(version)
    found = pa.concat_tables(raw.read(file) for file in raw.files(table))
    return found.sort_by([("partition", "ascending"), ("offset", "ascending")])


def told(raw: Raw) -> dict:
    """What the rest of the platform learns from raw."""
    table = raw.table()
    cuts = [raw.cut(t, table) for t in (FIRST + DAY, FIRST + 2 * DAY, FRONTIER)]
    return {"positions": raw.positions(table), "cuts": cuts, "records": records(raw)}


def compact(sandbox, now: datetime = NOW) -> job.Compacted:
    return job.compact_raw(sandbox.settings, sandbox.domain, now, print)


def cover(sandbox, landed: Landed, frontier: datetime = FRONTIER) -> None:
    """Give every mart a tile up to there, without states."""
    settings, domain, kernel = sandbox.settings, sandbox.domain, Kernel(sandbox.domain)
    for view in [*domain.stored_views, QUARANTINE]:
        definition = kernel.definition_hash(view)
        manifest = Manifest(
            t0=EPOCH, t1=frontier, cut_start={}, cut_end=landed.raw.cut(frontier), definition_hash=definition,
            rows=0, events=0, good=0, quarantined=0, markers=0, build_id="test",
        )  # fmt: skip
        rows = pa.table({TILE: [manifest.tile], MANIFEST: [manifest.model_dump_json()]})
        uri = mart_uri(settings, domain.name, view, definition)
        write_deltalake(uri, rows, partition_by=[TILE], storage_options=settings.storage_options())


@pytest.fixture
def covered(sandbox, landed) -> None:
    """Raw of three days in many files, and marts with a frontier in the third."""
    land(landed)
    cover(sandbox, landed)


def test_closed_days_become_a_file_each_and_nothing_that_is_told_of_raw_changes(sandbox, landed):
    raw = landed.raw
    land(landed)
    Served(sandbox, landed, FRONTIER)
    before, version, proof = told(raw), raw.table().version(), verify(sandbox.settings, sandbox.domain)
    assert files_of_days(raw) == {"2026-11-18": FILES, "2026-11-19": FILES + 1, "2026-11-20": FILES + 2}
    done = compact(sandbox)
    assert [(day.date, day.files_before, day.files_after) for day in done.days] == [
        ("2026-11-18", FILES, 1),
        ("2026-11-19", FILES + 1, 1),
    ]
    assert files_of_days(raw) == {"2026-11-18": 1, "2026-11-19": 1, "2026-11-20": FILES + 2}
    assert told(raw) == before
    assert records(raw, version) == before["records"], "whoever has the version before sees what it held"
    assert verify(sandbox.settings, sandbox.domain) == proof
    assert proof.raw_gaps == proof.raw_duplicates == 0 and not any(view.mismatches for view in proof.views)
    again = compact(sandbox)
    assert (again.days, again.version) == ([], done.version), "nothing to gain, nothing committed"


def test_what_is_not_past_or_not_covered_by_every_mart_stays_as_it_is(sandbox, landed):
    land(landed)
    raw, many = landed.raw, files_of_days(landed.raw)
    assert compact(sandbox).closed_before == str(EPOCH.date())
    assert files_of_days(raw) == many, "no mart has a tile"
    # A broker's clock that was set back: an event of the first day after the marts' cut.
    landed.events(FIRST + timedelta(hours=5), 1, 1)
    cover(sandbox, landed)
    assert compact(sandbox, FIRST + DAY).days == [], "the first day is not past"
    done = compact(sandbox)
    assert done.open == ["2026-11-18"]
    assert [day.date for day in done.days] == ["2026-11-19"]
    assert files_of_days(raw) == {"2026-11-18": FILES + 1, "2026-11-19": 1, "2026-11-20": FILES + 2}


@pytest.mark.parametrize(("sizes", "gains"), [([], 0), ([1], 0), ([200, 200], 0), ([10, 250, 10], 0), ([200, 56], 1)])
def test_only_neighbours_that_fit_into_one_file_are_joined(sizes, gains):
    assert job._gains([SimpleNamespace(bytes=size << 20) for size in sizes]) == bool(gains)


def test_a_slice_reads_few_row_groups_of_a_compacted_day(sandbox, landed, covered, monkeypatch):
    raw = landed.raw
    start, end = raw.cut(FIRST + DAY), raw.cut(FIRST + 2 * DAY)
    third = {p: offset + (end[p] - offset) // 3 for p, offset in start.items()}
    expected = pa.concat_tables(raw.scan(start, third))
    monkeypatch.setattr(job, "ROWS_PER_GROUP", 20)
    compact(sandbox)
    found = pa.concat_tables(raw.scan(start, third))
    order = [("partition", "ascending"), ("offset", "ascending")]
    assert len(found) > 50 and found.sort_by(order) == expected.sort_by(order)
    [file] = [file for file in raw.files(raw.table()) if str(file.date) == "2026-11-19"]
    path = f"{raw.uri.removeprefix('s3://')}/{file.path}"
    groups = pq.ParquetFile(path, filesystem=filesystem(sandbox.settings)).metadata
    bounds = [group_bounds(groups.row_group(n)) for n in range(groups.num_row_groups)]
    reading = sum(each.may_hold(start, third) for each in bounds)
    print(f"{reading} of {len(bounds)} row groups for a third of a day's offsets")
    assert len(bounds) >= 8 and reading <= len(bounds) * 2 // 3


def test_transaction_ids_outlive_compaction_checkpoint_and_the_cleaning_of_the_log(sandbox, landed, covered):
    raw, positions = landed.raw, landed.raw.positions(landed.raw.table())
    compact(sandbox)
    table = raw.table()
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})
    table = raw.table()
    table.create_checkpoint()
    table.cleanup_metadata()
    log = [info.base_name for info in filesystem(sandbox.settings).get_file_info(_log(raw))]
    assert f"{0:020}.json" not in log and any(name.endswith(".checkpoint.parquet") for name in log)
    assert raw.positions(raw.table()) == positions == landed.heads
    landed.events(NOW, 60, 10)
    assert raw.positions(raw.table()) == landed.heads


def test_a_lander_that_writes_from_an_older_version_is_not_disturbed_nor_disturbs(sandbox, landed, covered):
    raw, held = landed.raw, landed.raw.table()
    before = len(records(raw))
    stop, appended, refused = threading.Event(), [], []

    def append() -> None:
        table = held
        while not stop.is_set() or len(appended) < 5:
            rows = [landed._record(NOW, b"{}", p) for p in range(landed.partitions)]
            while raw.positions(table) != landed.heads:  # as the lander does: from the table that tells them
                try:
                    raw.append(table, pa.Table.from_pylist(rows, schema=RAW_SCHEMA), landed.heads)
                except DeltaError as error:
                    refused.append(str(error))
                    table = raw.table()
            appended.append(table.version())

    with ThreadPoolExecutor(1) as pool:
        lander = pool.submit(append)
        try:
            done = compact(sandbox)
        finally:
            stop.set()
        lander.result(60)
    print(f"{len(appended)} appends beside a compaction, refused first: {refused}")
    assert len(refused) <= 1, "no more than the one at which the compaction began"
    assert [day.files_after for day in done.days] == [1, 1]
    assert raw.positions(raw.table()) == landed.heads
    found = records(raw).select(["partition", "offset"])
    assert len(found) == before + landed.partitions * len(appended)
    assert len(found.group_by(["partition", "offset"]).aggregate([])) == len(found), "each record once"


def test_a_compaction_that_is_overtaken_by_another_stops_and_says_so(landed):
    land(landed)
    raw, before = landed.raw, told(landed.raw)
    first, second = job.Compaction(raw), job.Compaction(raw)
    first.begin()
    second.begin()
    for look in (lambda: None, first.table.update_incremental):  # it has not seen the other's beginning, or it has
        look()
        with pytest.raises(TidemarkError, match="another compaction has begun since"):
            first.compact(FIRST.date())
    second.compact(FIRST.date())
    assert files_of_days(raw)["2026-11-18"] == 1
    third = job.Compaction(raw)
    second.compact((FIRST + DAY).date())
    third.begin()
    assert [len(third.files((FIRST + n * DAY).date())) for n in range(2)] == [1, 1], "it sees what was done before it"
    third.compact(FIRST.date())
    assert told(raw) == before


def test_without_a_beginning_two_compactions_double_what_raw_holds(landed):
    land(landed, 1)
    raw, before = landed.raw, records(landed.raw)
    runs = [job.Compaction(raw) for _ in range(2)]
    for run in runs:
        run.compact(FIRST.date())
    assert len(records(raw)) > len(before)


def test_of_two_commands_at_once_one_may_stop_and_raw_is_compacted_once(sandbox, landed, covered):
    before = told(landed.raw)
    together = threading.Barrier(2)

    def run() -> object:
        together.wait()
        try:
            return compact(sandbox)
        except TidemarkError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        ended = [future.result() for future in [pool.submit(run) for _ in range(2)]]
    assert any(isinstance(each, job.Compacted) for each in ended), ended
    assert files_of_days(landed.raw) == {"2026-11-18": 1, "2026-11-19": 1, "2026-11-20": FILES + 2}
    assert told(landed.raw) == before


# A new file, the commit of the first day (the run's beginning is one before it), and the log's checkpoint.
@pytest.mark.parametrize(("at", "passed"), [("append_date=", 0), ("_delta_log/", 1), (".checkpoint.parquet", 0)])
def test_a_compaction_that_is_killed_loses_nothing_and_is_run_again(sandbox, landed, covered, at, passed):
    raw, before = landed.raw, told(landed.raw)
    with held_puts(sandbox.settings.s3_endpoint, at, passed) as proxy:
        command = [sys.executable, "-m", "jobs.compact_raw", "--domain", sandbox.domain.name]
        environment = sandbox.environment | {"TIDEMARK_S3_ENDPOINT": proxy.endpoint}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert proxy.held.wait(60), f"it ended with {process.poll()} before its put of {at}"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    committed = at == ".checkpoint.parquet"
    assert files_of_days(raw)["2026-11-18"] == (1 if committed else FILES)
    assert told(raw) == before
    compact(sandbox)
    assert files_of_days(raw)["2026-11-18"] == files_of_days(raw)["2026-11-19"] == 1
    assert told(raw) == before


def test_the_command_tells_files_and_bytes_of_each_day(sandbox, landed, covered):
    command = [sys.executable, "-m", "jobs.compact_raw", "--domain", sandbox.domain.name, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=sandbox.environment, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [(day["files_before"], day["files_after"]) for day in answer["days"]] == [(FILES, 1), (FILES + 1, 1)]
    assert all(day["bytes_before"] > day["bytes_after"] > 0 for day in answer["days"])
    assert answer["files"] == FILES + 4 and answer["closed_before"] == "2026-11-20"


def _log(raw: Raw) -> fs.FileSelector:
    return fs.FileSelector(f"{raw.uri.removeprefix('s3://')}/_delta_log")
