"""A slice that is too large for one tile, split between segments.

Invariant: the cuts within are those that `Raw.cut` gives, for the seal of the slice's end proves every cut before it.
So each part is a slice like any other and can be built again by itself; and if some parts are built already, splitting
the rest gives the other parts.
"""

from __future__ import annotations

import numpy as np
from deltalake import DeltaTable

from jobs.slices import Span, files_of
from lake.cuts import Cut, count, epoch_ms, from_ms
from lake.raw import Raw, between
from lake.timeline import Timeline, survey, timeline

_COLUMNS = ["partition", "offset", "append_time"]


def split(raw: Raw, version: DeltaTable, span: Span, most: int) -> list[Span]:
    """The span in parts of at most `most` offsets, in order; a single segment with more stays whole."""
    if count(span.start, span.end) <= most:
        return [span]
    segment_ms = raw.settings.segment_seconds * 1000
    files = raw.ahead(files_of(raw, version, span))
    read = (between(raw.read(file, _COLUMNS), span.start, span.end) for file in files)
    return divide(timeline(survey(rows, segment_ms) for rows in read), span, most)


def divide(segments: Timeline, span: Span, most: int) -> list[Span]:
    """The same, given the timeline of [span.start, span.end): each part ends at the last boundary that fits."""
    borders, before = _borders(segments, span)
    parts, rest, chosen = [], span, -1
    while count(rest.start, rest.end) > most and chosen + 1 < len(borders):
        fitting = int(np.searchsorted(before, count({}, rest.start) + most, side="right")) - 1
        chosen = max(chosen + 1, fitting)
        t = from_ms(int(borders[chosen]))
        cut = _cut(segments, borders[chosen], span.end)
        parts.append(Span(rest.t0, t, rest.start, cut))
        rest = Span(t, span.t1, cut, span.end)
    return [*parts, rest]


def _borders(segments: Timeline, span: Span) -> tuple[np.ndarray, np.ndarray]:
    """The starts (ms) of segments within the span before which it has records, and how many offsets lie before each."""
    starts = np.unique(np.concatenate([np.zeros(0, np.int64), *segments.starts.values()]))
    borders = starts[starts > epoch_ms(span.t0)]
    before = np.zeros(len(borders), np.int64)
    for partition, stop in span.end.items():
        before += _firsts(segments, partition, borders, stop)
    inner = before > count({}, span.start)
    return borders[inner], before[inner]


def _cut(segments: Timeline, border: np.int64, end: Cut) -> Cut:
    cut = {p: int(_firsts(segments, p, np.array([border]), stop)[0]) for p, stop in end.items()}
    return {p: offset for p, offset in cut.items() if offset}


def _firsts(segments: Timeline, partition: int, borders: np.ndarray, stop: int) -> np.ndarray:
    """For each border, the partition's first offset in a segment from there on; `stop` where the span has none."""
    firsts = segments.firsts.get(partition, np.zeros(0, np.int64))
    starts = segments.starts.get(partition, np.zeros(0, np.int64))
    return np.append(firsts, stop)[np.searchsorted(starts, borders, side="left")]
