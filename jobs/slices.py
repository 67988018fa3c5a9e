"""One slice of raw, computed: read by offsets between two cuts, counted, and turned into states of every view.

Invariant: a slice that is given out holds each offset between its cuts once, and each is good, bad or a marker; else
RawDamaged is raised and nothing was committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush

from deltalake import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from jobs.carry import RUNS, carry_files
from jobs.joined import carry_joined, large_dimensions
from jobs.repeats import repeats_in
from jobs.runs import check_runs, join_runs
from jobs.task_files import TaskFiles
from lake.cuts import EPOCH, Cut, count
from lake.domain import Domain
from lake.duplicates import REPEATS
from lake.errors import RawDamaged, TidemarkError
from lake.kernel import COUNTS, decode
from lake.marks import Marks, needs_marks, read_timeline
from lake.raw import Raw, lies_between
from lake.raw_file import RawFile
from lake.timeline import Versions

# Records after cut(T0) may carry an older append_time if the broker's clock was set back.
CLOCK_MARGIN = timedelta(days=1)
MIN_TASKS = 2
BYTES_PER_TASK = 64 << 20  # of compressed files
# How Spark tells it, by where in its work the worker was.
_WORKER_DIED = ("Python worker exited unexpectedly", "EOFException", "Connection reset", "Broken pipe")
_COUNTED = ("events", "good", "quarantined", "markers", "duplicates")


@dataclass(frozen=True)
class Span:
    """The events of [t0, t1): the offsets [start, end), with start = cut(t0) and end = cut(t1)."""

    t0: datetime
    t1: datetime
    start: Cut
    end: Cut


@dataclass(frozen=True)
class Slice:
    """A computed span: parcels of states (None without events), their sizes by view, counts over all partitions."""

    span: Span
    parcels: DataFrame | None
    rows: Mapping[str, int]
    bytes: Mapping[str, int] = field(default_factory=dict)
    """Of each view's states, encoded."""
    events: int = 0
    good: int = 0
    quarantined: int = 0
    markers: int = 0
    duplicates: int = 0
    announced: Mapping[int, Versions] = field(default_factory=dict)
    """Of each partition, the highest version of each dimension that was announced before the slice's end."""


def compute(
    session: SparkSession,
    domain: Domain,
    raw: Raw,
    version: DeltaTable,
    span: Span,
    announced: Mapping[int, Versions],
) -> Slice:
    """Parse the slice once, for all views. The parcels are persisted; unpersist them.

    `announced`: of each partition, the dimensions' versions that were announced before the slice.
    """
    if not count(span.start, span.end):
        return Slice(span, None, {}, announced=announced)
    try:
        marks = _marks(session, domain, raw, version, span, announced)
        parcels = _carried(session, _task_files(raw, domain, version, span), marks).persist()
        told = f.when(f.col("view").isin(RUNS, COUNTS), f.col("states")).alias("told")
        found = parcels.select("view", "rows", f.length("states").alias("bytes"), told).collect()
    except (Py4JJavaError, PySparkException) as error:
        raise _named(error) from error
    tables = {name: [decode(bytes(row.told)) for row in found if row.view == name] for name in (RUNS, COUNTS)}
    check_runs(join_runs(tables[RUNS]), span.start, span.end, raw.uri)
    sums = {name: sum(sum(table[name].to_pylist()) for table in tables[COUNTS]) for name in _COUNTED}
    after = marks.timeline.after(span.end) if marks.timeline else announced
    rows, encoded = Counter[str](), Counter[str]()
    for row in found:
        rows[row.view] += row.rows
        encoded[row.view] += row.bytes
    result = Slice(span, parcels, rows, encoded, **sums, announced=after)
    _check_sum(result, raw)
    return result


def _carried(session: SparkSession, files: TaskFiles, marks: Marks) -> DataFrame:
    large = large_dimensions(files.settings, files.domain, marks)
    return carry_joined(session, files, marks, large) if large else carry_files(session, files, marks)


def _marks(
    session: SparkSession,
    domain: Domain,
    raw: Raw,
    version: DeltaTable,
    span: Span,
    announced: Mapping[int, Versions],
) -> Marks:
    """What the slice's records get from others, those in the window before the slice included."""
    if not needs_marks(domain):
        return Marks()
    seconds = raw.settings.segment_seconds
    back = timedelta(seconds=(domain.dedup.segments - 1) * seconds) if domain.dedup else timedelta(0)
    since = max(span.t0 - back, EPOCH)
    wider = Span(since, span.t1, raw.cut(since, version), span.end)
    # Announcements before the slice are in `announced` already: that they come twice changes no maximum.
    timeline = read_timeline(raw, files_of(raw, version, wider), wider.start, wider.end, seconds, announced)
    repeats = REPEATS.empty_table()
    if domain.dedup:
        found = repeats_in(session, _task_files(raw, domain, version, wider), timeline)
        repeats = found.filter(lies_between(found, span.start, span.end))
    return Marks(timeline, tuple(domain.dimensions), repeats)


def _task_files(raw: Raw, domain: Domain, version: DeltaTable, span: Span) -> TaskFiles:
    return TaskFiles(raw.settings, domain, _tasks(files_of(raw, version, span)), span.start, span.end)


def files_of(raw: Raw, version: DeltaTable, span: Span) -> list[RawFile]:
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
    if not expected == found.events == found.good + found.quarantined + found.markers + found.duplicates:
        raise RawDamaged(
            f"{raw.uri} between {found.span.start} and {found.span.end}: {expected} offsets, {found.events} events = "
            f"{found.good} good + {found.quarantined} quarantined + {found.markers} markers + "
            f"{found.duplicates} duplicates does not add up; "
            "nothing was committed; run `tidemark verify`"
        )


def _named(error: Exception) -> Exception:
    """What a worker of Spark's has met, which Spark gives as text in an error of its own, as what it was."""
    sign, text = "RawDamaged: ", str(error)
    if damaged := [line for line in text.splitlines() if sign in line]:
        return RawDamaged(damaged[0].split(sign, 1)[1])
    if "PythonRunner" in text and any(words in text for words in _WORKER_DIED):
        return TidemarkError(
            "a Python worker of Spark's died, killed or out of memory; nothing of the slice was committed; "
            "run the build again"
        )
    return error
