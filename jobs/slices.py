"""One slice of raw, computed: read by offsets between two cuts, counted, and turned into states of every view.

Invariant: a slice that is given out holds each offset between its cuts once, and each is good, bad or a marker; else
RawDamaged is raised and nothing was committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush

from deltalake import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from jobs.carry import RUNS, carry_files, collect
from jobs.runs import check_runs, join_runs
from lake.cuts import EPOCH, Cut, count
from lake.domain import Domain
from lake.errors import RawDamaged
from lake.kernel import COUNTS, Kernel
from lake.raw import Raw
from lake.raw_file import RawFile

# Records after cut(T0) may carry an older append_time if the broker's clock was set back.
CLOCK_MARGIN = timedelta(days=1)
MIN_TASKS = 2
BYTES_PER_TASK = 64 << 20  # of compressed files


@dataclass(frozen=True)
class Span:
    """The events of [t0, t1): the offsets [start, end), with start = cut(t0) and end = cut(t1)."""

    t0: datetime
    t1: datetime
    start: Cut
    end: Cut


@dataclass(frozen=True)
class Slice:
    """A computed span: parcels of states (None without events), rows of each view, counts over all partitions."""

    span: Span
    parcels: DataFrame | None
    rows: dict[str, int]
    events: int = 0
    good: int = 0
    quarantined: int = 0
    markers: int = 0


def compute(session: SparkSession, domain: Domain, raw: Raw, version: DeltaTable, span: Span) -> Slice:
    """Parse the slice once, for all views. The parcels are persisted; unpersist them."""
    if not count(span.start, span.end):
        return Slice(span, None, {})
    tasks = _tasks(_files(raw, version, span))
    parcels = carry_files(session, raw.settings, domain, tasks, span.start, span.end).persist()
    try:
        totals = parcels.groupBy("view").agg(f.sum("rows").alias("rows")).collect()
    except (Py4JJavaError, PySparkException) as error:
        raise _named(error) from error
    check_runs(join_runs(collect(parcels, RUNS)), span.start, span.end, raw.uri)
    counted = Kernel(domain).merge(COUNTS, collect(parcels, COUNTS)).to_pylist()
    result = Slice(
        span,
        parcels,
        {row["view"]: row["rows"] for row in totals},
        *(sum(row[name] for row in counted) for name in ("events", "good", "quarantined", "markers")),
    )
    _check_sum(result, raw)
    return result


def _files(raw: Raw, version: DeltaTable, span: Span) -> list[RawFile]:
    """The files that may hold records of the span: by offsets; times only spare reading what lies far off."""
    after = span.t0 - CLOCK_MARGIN if span.t0 > EPOCH else EPOCH
    return [
        file
        for file in raw.files(version)
        if file.last_time >= after and file.first_time < span.t1 and file.may_hold(span.start, span.end)
    ]


def _tasks(files: list[RawFile]) -> list[list[RawFile]]:
    """The files dealt out evenly by bytes, largest first. No files (all were lost) still make one task."""
    count = max(1, min(len(files), MIN_TASKS + sum(file.bytes for file in files) // BYTES_PER_TASK))
    loads = [(0, number) for number in range(count)]
    tasks: list[list[RawFile]] = [[] for _ in range(count)]
    for file in sorted(files, key=lambda file: -file.bytes):
        load, number = heappop(loads)
        tasks[number].append(file)
        heappush(loads, (load + file.bytes, number))
    return tasks


def _check_sum(found: Slice, raw: Raw) -> None:
    expected = count(found.span.start, found.span.end)
    if not expected == found.events == found.good + found.quarantined + found.markers:
        raise RawDamaged(
            f"{raw.uri} between {found.span.start} and {found.span.end}: {expected} offsets, {found.events} events = "
            f"{found.good} good + {found.quarantined} quarantined + {found.markers} markers does not add up; "
            "nothing was committed; run `tidemark verify`"
        )


def _named(error: Exception) -> Exception:
    """A worker's RawDamaged, which Spark gives as text in an error of its own, as what it was."""
    sign = "RawDamaged: "
    damaged = [line for line in str(error).splitlines() if sign in line]
    return RawDamaged(damaged[0].split(sign, 1)[1]) if damaged else error
