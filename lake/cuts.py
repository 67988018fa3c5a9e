"""Cuts: vectors of Kafka offsets, fixed by the log alone.

cut(T) is, for each partition, the first offset whose append_time is >= T: half-open, records before the cut have
smaller offsets. A partition that is missing from a cut counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from lake.errors import NotSealed

Cut = dict[int, int]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The T0 of the first slice: cut(EPOCH) is 0 in every partition."""


def epoch_ms(t: datetime) -> int:
    """Milliseconds since EPOCH, floored. `t` carries a zone."""
    return (t - EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def segment_start(ms: int, segment_seconds: int) -> int:
    """The start, in ms, of the segment [start, start + segment) that holds `ms`."""
    return ms - ms % (segment_seconds * 1000)


def boundaries_around(t: datetime, segment_seconds: int) -> tuple[datetime, datetime] | None:
    """The boundaries of segments before and after `t`; None if `t` is one itself."""
    before = from_ms(segment_start(epoch_ms(t), segment_seconds))
    return None if before == t else (before, before + timedelta(seconds=segment_seconds))


def check_boundary(t: datetime, segment_seconds: int) -> None:
    """Raise NotSealed unless `t` is the boundary of two segments, the only place where two layers can meet."""
    if around := boundaries_around(t, segment_seconds):
        raise NotSealed(f"{format_time(t)} is inside a segment of {segment_seconds} s; use {format_time(around[0])}")


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC. Raises ValueError."""
    t = datetime.fromisoformat(text)
    return t.replace(tzinfo=UTC) if t.tzinfo is None else t.astimezone(UTC)


def format_time(t: datetime) -> str:
    """2026-11-21T09:00:00Z, with milliseconds only where there are some."""
    t = t.astimezone(UTC)
    return t.isoformat(timespec="milliseconds" if t.microsecond else "seconds").replace("+00:00", "Z")


def upper(cuts: Iterable[Cut]) -> Cut:
    """The smallest cut that none of these lies behind."""
    result: Cut = {}
    for cut in cuts:
        for partition, offset in cut.items():
            result[partition] = max(offset, result.get(partition, 0))
    return result


def lower(cuts: Iterable[Cut]) -> Cut:
    """The largest cut that is not beyond any of these."""
    cuts = list(cuts)
    partitions = {p for cut in cuts for p in cut}
    return {p: min(cut.get(p, 0) for cut in cuts) for p in partitions}


def covers(cut: Cut, other: Cut) -> bool:
    """Whether every offset before `other` is before `cut` too."""
    return all(cut.get(p, 0) >= offset for p, offset in other.items())


def count(start: Cut, end: Cut) -> int:
    """How many offsets lie in [start, end)."""
    return sum(offset - start.get(p, 0) for p, offset in end.items())
