"""One slice of raw, computed: read by offsets between two cuts, counted, and turned into states of every view.

Invariant: a slice that is given out holds each offset between its cuts once, and each is good, bad or a marker; else
RawDamaged is raised and nothing was committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from deltalake import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from jobs.carry import RUNS, carry, collect
from jobs.runs import check_runs, join_runs
from jobs.session import s3a_uri
from lake.cuts import EPOCH, Cut, count
from lake.domain import Domain
from lake.errors import RawDamaged
from lake.kernel import COUNTS, Kernel
from lake.raw import DATE, Raw

# Records after cut(T0) may carry an older append_time if the broker's clock was set back.
CLOCK_MARGIN = timedelta(days=1)
_LOST = ("FAILED_READ_FILE", "FILE_NOT_FOUND", "FileNotFoundException", "is not a Parquet file")


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
    records = session.read.format("delta").option("versionAsOf", version.version())
    within = records.load(s3a_uri(raw.uri)).where(_within(span))
    parcels = carry(within, domain).persist()
    try:
        totals = parcels.groupBy("view").agg(f.sum("rows").alias("rows")).collect()
    except (Py4JJavaError, PySparkException) as error:
        raise _named(error, raw) from error
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


def _within(span: Span) -> Column:
    ranges = [
        (f.col("partition") == p) & (f.col("offset") >= span.start.get(p, 0)) & (f.col("offset") < end)
        for p, end in span.end.items()
    ]
    dates = f.col(DATE) <= f.lit(span.t1.date())
    if span.t0 > EPOCH:
        dates &= f.col(DATE) >= f.lit((span.t0 - CLOCK_MARGIN).date())
    return dates & reduce(or_, ranges)


def _check_sum(found: Slice, raw: Raw) -> None:
    expected = count(found.span.start, found.span.end)
    if not expected == found.events == found.good + found.quarantined + found.markers:
        raise RawDamaged(
            f"{raw.uri} between {found.span.start} and {found.span.end}: {expected} offsets, {found.events} events = "
            f"{found.good} good + {found.quarantined} quarantined + {found.markers} markers does not add up; "
            "nothing was committed; run `tidemark verify`"
        )


def _named(error: Exception, raw: Raw) -> Exception:
    text = str(error)
    if not any(sign in text for sign in _LOST):
        return error
    line = next(line for line in text.splitlines() if any(sign in line for sign in _LOST))
    return RawDamaged(f"a file of {raw.uri} cannot be read ({line.strip()}); restore it from the bucket's versions")
