"""The kernel through Spark against the same aggregation by hand, in native Spark and in plain DuckDB.

Each arm is a warm process of its own; they take turns over the same files of raw, and every answer must be the truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from lake.cuts import format_time
from lake.raw import Raw
from lake.tables import data_files, filesystem
from tests.bench.arms import Answer, Arm
from tests.bench.batch_slices import PARTITIONS
from tests.bench.bench_lake import T0, T1, BenchLake, Slice, two_views
from tests.bench.shop_records import ShopRecords

WARM_UPS = 2


def measure_native(lake: BenchLake, sizes: Sequence[int], repeats: int) -> Iterator[tuple[str, dict]]:
    """Of each size, so many events, every arm."""
    for events in sizes:
        yield from _compared(lake, events, repeats)


def _compared(lake: BenchLake, events: int, repeats: int) -> Iterator[tuple[str, dict]]:
    records = ShopRecords(events, T0, PARTITIONS)
    made = lake.land(lake.declare(f"shop_of_two_views_{events}", two_views), records, 0)
    expected = truth_rows(records)
    taken: dict[str, list[Answer]] = {"kernel": [], "native": [], "duckdb": []}
    of_raw = {"domain": made.domain.name, "t1": format_time(T1)}
    calls: dict[str, dict] = {"kernel": of_raw, "native": of_raw, "duckdb": {"files": local_copies(lake, made)}}
    with (
        Arm("kernel", lake.environment) as kernel,
        Arm("native", lake.environment) as native,
        Arm("duckdb", lake.environment) as duckdb,
    ):
        arms = {"kernel": kernel, "native": native, "duckdb": duckdb}
        with kernel.peak() as kernel_peak, native.peak() as native_peak, duckdb.peak() as duckdb_peak:
            for turn in range(-WARM_UPS, repeats):
                for kind, arm in arms.items():
                    answer = arm.call(kind, end=made.end, **calls[kind])
                    if answer.rows != expected:
                        raise AssertionError(f"{kind} does not find what is true of {events} events")
                    if turn >= 0:
                        taken[kind].append(answer)
    peaks = {"kernel": kernel_peak.pss, "native": native_peak.pss, "duckdb": duckdb_peak.pss}
    for kind, answers in taken.items():
        yield (
            f"{kind} {events}",
            {
                "arm": kind,
                "events": events,
                "seconds": [round(a.seconds, 3) for a in answers],
                "cpu_seconds": [round(a.cpu_seconds, 3) for a in answers],
                "peak_bytes": peaks[kind],
                "equals_truth": True,
            },
        )


def truth_rows(records: ShopRecords) -> list[tuple]:
    """The truth as the arms answer: sorted by the rows' text."""
    orders = [("order", *key, count, cents) for key, (cents, count) in records.truth.revenue().items()]
    views = [("page_view", *key, count, 0) for key, count in records.truth.page_views().items()]
    return sorted([*orders, *views], key=str)


def local_copies(lake: BenchLake, made: Slice) -> list[str]:
    """The data files of raw, copied out of the lake, so that DuckDB reads them with its own reader."""
    raw = Raw(lake.settings, made.domain)
    folder = lake.settings.home / "copies" / made.domain.name
    folder.mkdir(parents=True)
    copies = []
    for number, file in enumerate(data_files(raw.table())):
        copy = folder / f"{number}.parquet"
        address = f"{raw.uri}/{unquote(file['path'])}".removeprefix("s3://")
        with filesystem(lake.settings).open_input_stream(address) as stream, Path(copy).open("wb") as target:
            shutil.copyfileobj(stream, target)
        copies.append(str(copy))
    return copies
