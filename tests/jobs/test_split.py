"""A slice in parts is the slice: each part ends at a cut, as the log alone fixes it, whatever its clock did."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from jobs.slices import Span
from jobs.split import divide
from jobs.tiling import Tiling, tiling_of
from lake.cuts import EPOCH, Cut, count, epoch_ms, from_ms
from lake.errors import TileRefused
from lake.marts import Manifest
from lake.raw_schema import RAW_SCHEMA
from lake.timeline import survey, timeline

SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
SEGMENT_MS = 10_000
HOUR = timedelta(hours=1)


@dataclass
class Log:
    """Records of three partitions, (partition, offset, ms), whose clock jumps; the third begins late, or never."""

    source: random.Random
    records: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ms, following = 1_000_000_000, [0, 0, 0]
        for number in range(self.source.randint(1, 300)):
            ms += self.source.choice([0, 1, 500, 4000, -3000, 12_000, -15_000, 40_000])
            p = self.source.randrange(2 if number < 100 else 3)
            self.records.append((p, following[p], ms))
            following[p] += 1
        self.end = {p: offset for p, offset in enumerate(following) if offset}

    def cut(self, ms: int) -> Cut:
        """By the definition: the first offset whose time is >= ms; the seal of a later cut stands at the end."""
        first = dict(self.end)
        for p, offset, at in self.records:
            if at >= ms:
                first[p] = min(first[p], offset)
        return {p: offset for p, offset in first.items() if offset}


@pytest.fixture(params=range(100))
def log(request: pytest.FixtureRequest) -> Log:
    print(f"TEST_SEED={SEED}")
    return Log(random.Random(SEED + request.param))


def _divided(log: Log, span: Span, most: int) -> list[Span]:
    rows = [
        {"partition": p, "offset": offset, "append_time": from_ms(ms), "key": None, "value": b"", "headers": []}
        for p, offset, ms in log.records
        if span.start.get(p, 0) <= offset < span.end.get(p, 0)
    ]
    log.source.shuffle(rows)
    table = pa.Table.from_pylist(rows, schema=RAW_SCHEMA)
    middle = len(rows) // 2
    return divide(timeline(survey(part, SEGMENT_MS) for part in (table[:middle], table[middle:])), span, most)


def test_parts_adjoin_are_as_large_as_may_be_and_end_at_cuts(log: Log) -> None:
    boundaries = sorted({ms - ms % SEGMENT_MS for _, _, ms in log.records})
    t0, t1 = log.source.choice([0, log.source.choice(boundaries)]), max(boundaries) + SEGMENT_MS
    span = Span(from_ms(t0), from_ms(t1), log.cut(t0) if t0 else {}, log.end)
    most = log.source.randint(1, 60)
    parts = _divided(log, span, most)
    assert (parts[0].t0, parts[0].start, parts[-1].t1, parts[-1].end) == (span.t0, span.start, span.t1, span.end)
    for before, after in pairwise(parts):
        assert (before.t1, before.end) == (after.t0, after.start)
        assert before.end == log.cut(epoch_ms(before.t1))
    for part in parts:
        inner = [b for b in boundaries if epoch_ms(part.t0) < b < epoch_ms(part.t1)]
        alone = all(log.cut(b) in (part.start, part.end) for b in inner)
        assert count(part.start, part.end) <= most or alone
    for part in parts[:-1]:
        assert count(part.start, part.end) > 0
        later = [log.cut(b) for b in boundaries if b > epoch_ms(part.t1)]
        assert all(cut == part.end or count(part.start, cut) > most for cut in later)


def test_what_is_left_after_some_parts_is_divided_into_the_others(log: Log) -> None:
    span = Span(EPOCH, from_ms(max(ms for *_, ms in log.records) // SEGMENT_MS * SEGMENT_MS + SEGMENT_MS), {}, log.end)
    parts = _divided(log, span, 20)
    for done in range(1, len(parts)):
        rest = Span(parts[done].t0, span.t1, parts[done].start, span.end)
        assert _divided(log, rest, 20) == parts[done:]


# What a request means, by the tiles that are there: hours 0-1, 1-2 and 2-4.


def _hour(hour: int) -> datetime:
    return EPOCH + hour * HOUR


def _run(*ends: int) -> list[Manifest]:
    counts = dict.fromkeys(("rows", "events", "good", "quarantined", "markers"), 0)
    return [
        Manifest(
            t0=_hour(a), t1=_hour(b), cut_start={0: a}, cut_end={0: b}, definition_hash="d", build_id="b", **counts
        )
        for a, b in pairwise((0, *ends))
    ]


RUN = _run(1, 2, 4)
REQUESTS = {
    "the rest": ((None, 5), Tiling(rest=_hour(4))),
    "done": ((None, 4), Tiling(present=RUN[-1:])),
    "the next slice": ((4, 6), Tiling(rest=_hour(4))),
    "one tile again": ((1, 2), Tiling(again=[(_hour(1), _hour(2))])),
    "a long tile again": ((2, 4), Tiling(again=[(_hour(2), _hour(4))])),
    "a slice of two tiles again": ((1, 4), Tiling(again=[(_hour(1), _hour(2)), (_hour(2), _hour(4))])),
    "a slice that was killed in the middle": ((1, 5), Tiling(present=RUN[1:], rest=_hour(4))),
    "beyond the frontier": ((5, 6), Tiling(again=[(_hour(5), _hour(6))])),
    "half a tile": ((2, 3), Tiling(again=[(_hour(2), _hour(3))])),
    "a tile and a half": ((1, 3), Tiling(again=[(_hour(1), _hour(3))])),
    "from within a tile": ((3, 5), Tiling(again=[(_hour(3), _hour(5))])),
}


@pytest.mark.parametrize(("asked", "means"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_means_the_tiles_that_are_there_or_what_is_new(asked, means) -> None:
    t0, t1 = (None if hour is None else _hour(hour) for hour in asked)
    found = tiling_of("sales", RUN, t0, t1)
    assert (list(found.present), list(found.again), found.rest) == (list(means.present), list(means.again), means.rest)


def test_a_view_without_tiles_begins_at_the_beginning() -> None:
    assert tiling_of("sales", [], None, _hour(1)) == tiling_of("sales", [], EPOCH, _hour(1)) == Tiling(rest=EPOCH)


def test_going_on_to_a_time_before_the_frontier_is_refused() -> None:
    with pytest.raises(TileRefused, match=r"built up to 1970-01-01T04:00:00Z already, beyond t1 1970-01-01T03:00:00Z"):
        tiling_of("sales", RUN, None, _hour(3))
