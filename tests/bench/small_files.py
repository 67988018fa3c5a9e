"""Raw as a lander leaves it that commits small chunks, before and after compaction: files, bytes, opening, scanning.

The files are written by Arrow and committed a hundred at a time, so that ten thousand take a minute; the lander makes a
commit each. The date is closed and tiles cover it, which is what `jobs.compact_raw` asks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.transaction import AddAction, RemoveAction

from lake.cuts import EPOCH, Cut, format_time
from lake.domain import Domain
from lake.raw import DATE, Raw
from lake.tables import filesystem
from tests.bench.arms import Arm
from tests.bench.batch_slices import PARTITIONS
from tests.bench.bench_lake import BenchLake
from tests.bench.shop_records import ShopRecords, markers

# A day that is past, with the end of its tile: only such days are compacted.
START, END = datetime(2026, 11, 1, 9, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
RECORDS = 100
"""A file's."""
FILES_A_COMMIT = 100
REPEATS = 3


def measure_files(lake: BenchLake, files: int) -> Iterator[tuple[str, dict]]:
    domain = lake.declare("shop_small_x0")
    records = ShopRecords(files * RECORDS, START, PARTITIONS)
    raw = Raw(lake.settings, domain)
    raw.create("topic-1")
    end: Cut = dict.fromkeys(records.heads, 0)
    small = (block.slice(at, RECORDS) for block in records.blocks({}) for at in range(0, len(block), RECORDS))
    while commit := list(islice(small, FILES_A_COMMIT)):
        commit_files(raw, commit, end)
    raw.append(raw.table(), markers(END, end), {p: offset + 1 for p, offset in end.items()})
    with Arm("kernel", lake.environment) as arm:
        built = arm.call("build", domain=domain.name, t1=format_time(END))  # a date is closed where tiles cover it
        check(lake, domain, records)
        yield "before", _measured(raw, end, records.count) | {"build_seconds": round(built.seconds, 2)}
        began = time.perf_counter()
        compact(lake, domain)
        took = time.perf_counter() - began
        lake.forget_tile(domain, EPOCH)
        built = arm.call("build", domain=domain.name, t1=format_time(END))
        check(lake, domain, records)
        found = _measured(raw, end, records.count)
        yield "after", found | {"build_seconds": round(built.seconds, 2), "compaction_seconds": round(took, 2)}


def compact(lake: BenchLake, domain: Domain) -> None:
    """As Airflow does. Raises subprocess.CalledProcessError, with what it said on stderr."""
    command = [sys.executable, "-m", "jobs.compact_raw", "--domain", domain.name, "--json"]
    subprocess.run(command, env=lake.environment, check=True, stdout=subprocess.DEVNULL)


def check(lake: BenchLake, domain: Domain, records: ShopRecords) -> None:
    if lake.built(domain, EPOCH) != (records.truth.revenue(), records.truth.visitors()):
        raise AssertionError(f"the build of {domain.name} is not what its {records.count} events say")


def _measured(raw: Raw, end: Cut, expected: int) -> dict:
    """Files and bytes; the least seconds of some openings, listings and whole scans. Every record must be found."""
    opening, scanning, found = [], [], 0
    for _ in range(REPEATS):
        began = time.perf_counter()
        table = raw.table()
        files = raw.files(table)
        opening.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = sum(len(rows) for rows in raw.scan({}, end, table))
        scanning.append(time.perf_counter() - began)
        if found != expected:
            raise AssertionError(f"a scan of {raw.uri} found {found} records, expected {expected}")
    return {
        "files": len(files),
        "bytes": sum(file.bytes for file in files),
        "open_seconds": [round(s, 3) for s in opening],
        "scan_seconds": [round(s, 2) for s in scanning],
        "records": found,
        "equals_truth": True,
    }


def commit_files(raw: Raw, tables: Sequence[pa.Table], heads: Cut) -> None:
    """Write each table as a file, commit them all, and move the heads behind them."""
    table = raw.table()
    lake = filesystem(raw.settings)
    actions: list[AddAction | RemoveAction] = []
    for rows in tables:
        day = rows["append_time"][0].as_py().date()
        path = f"{DATE}={day}/{uuid.uuid4()}.parquet"
        address = f"{raw.uri}/{path}".removeprefix("s3://")
        pq.write_table(rows, address, filesystem=lake)
        size = lake.get_file_info(address).size
        actions.append(AddAction(path, size, {DATE: str(day)}, time.time_ns() // 1_000_000, True, _statistics(rows)))
        for last in rows.group_by("partition").aggregate([("offset", "max")]).to_pylist():
            heads[last["partition"]] = last["offset_max"] + 1
    topic_id = raw.topic_id(table)
    transactions = [Transaction(f"{topic_id}-{p}", offset) for p, offset in heads.items()]
    table.create_write_transaction(
        actions, "append", table.schema(), DATE, commit_properties=CommitProperties(app_transactions=transactions)
    )


def _statistics(rows: pa.Table) -> str:
    """What Delta's log says of a file of raw."""
    bounds = {name: pc.min_max(rows[name]) for name in ("partition", "offset", "append_time")}
    told: dict[str, object] = {"numRecords": len(rows), "nullCount": dict.fromkeys(bounds, 0)}
    for end, name in (("min", "minValues"), ("max", "maxValues")):
        values = {column: found[end].as_py() for column, found in bounds.items()}
        told[name] = values | {"append_time": f"{values['append_time']:%Y-%m-%dT%H:%M:%S.%f}Z"}
    return json.dumps(told)
