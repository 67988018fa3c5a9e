"""Splitting at segment boundaries, however the log was cut into batches and whatever the brokers' clocks do."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.raw_schema import RAW_SCHEMA
from lake.store import Resume
from streaming.log_reader import Batch
from streaming.pieces import PIECE, split

SEGMENT_MS = 1000

# Per record: its partition, and by how much the broker's clock moved since the last one, back too.
records = st.lists(st.tuples(st.integers(0, 2), st.integers(-1500, 1500)), min_size=1, max_size=60)


def opened(partition: int, start: int = 0) -> Resume:
    return Resume(start, "id", epoch=-1, segment=None, max_append_ms=0, first=start)


def batches(log: list[tuple[int, int, int]], sizes: list[int]):
    """(partition, offset, append_ms) in batches of those sizes, the last one to the end."""
    at, positions = 0, {0: 0, 1: 0, 2: 0}
    for size in [*sizes, len(log)]:
        part, at = log[at : at + size], at + size
        if part:
            end = {p: offset + 1 for p, offset, _ in part}
            columns = {
                "partition": pa.array([p for p, _, _ in part], pa.int32()),
                "offset": pa.array([offset for _, offset, _ in part], pa.int64()),
                "append_time": pa.array([ms * 1000 for _, _, ms in part], pa.timestamp("us", "UTC")),
            }
            nulls = {f.name: pa.nulls(len(part), f.type) for f in RAW_SCHEMA if f.name not in columns}
            rows = pa.table({**columns, **nulls}).select(RAW_SCHEMA.names).cast(RAW_SCHEMA)
            yield Batch(rows, {p: positions[p] for p in end}, end, {})
            positions |= end


def as_log(moves: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    clock, offsets, log = 10_000, {0: 0, 1: 0, 2: 0}, []
    for partition, move in moves:
        clock = max(0, clock + move)
        log.append((partition, offsets[partition], clock))
        offsets[partition] += 1
    return log


@settings(deadline=None)  # other tests share the machine
@given(records, st.lists(st.integers(1, 20), max_size=8))
def test_each_record_is_in_the_segment_of_its_partitions_running_maximum(moves, sizes):
    log = as_log(moves)
    expected = {}
    for p in range(3):
        offsets = [(offset, ms) for partition, offset, ms in log if partition == p]
        for (offset, _), highest in zip(offsets, accumulate((ms for _, ms in offsets), max), strict=True):
            expected[p, offset] = highest // SEGMENT_MS * SEGMENT_MS
    resumes = {p: opened(p) for p in range(3)}
    found, ranges = {}, {}
    for batch in batches(log, sizes):
        chunk = split(batch, resumes, SEGMENT_MS, "id")
        pieces = {run.number + i: (p, piece) for p, run in chunk.runs.items() for i, piece in enumerate(run.pieces)}
        for row in chunk.rows.select(["partition", "offset", PIECE]).to_pylist():
            p, piece = pieces[row[PIECE]]
            assert p == row["partition"] and piece.first <= row["offset"] < piece.next
            found[p, row["offset"]] = piece.segment
        for p, piece in pieces.values():
            assert ranges.get((p, piece.segment), (piece.first, 0))[0] == piece.first
            ranges[p, piece.segment] = (piece.first, piece.next)
    assert found == expected
    for p in range(3):
        chain = [bounds for (partition, _), bounds in sorted(ranges.items()) if partition == p]
        assert all(before[1] == after[0] for before, after in pairwise(chain))


@settings(deadline=None)  # other tests share the machine
@given(records, st.lists(st.integers(1, 20), max_size=8))
def test_where_a_reader_stands_after_a_log_does_not_depend_on_its_batches(moves, sizes):
    log = as_log(moves)
    in_batches, whole = {p: opened(p) for p in range(3)}, {p: opened(p) for p in range(3)}
    for batch in batches(log, sizes):
        split(batch, in_batches, SEGMENT_MS, "id")
    for batch in batches(log, []):
        split(batch, whole, SEGMENT_MS, "id")
    assert in_batches == whole


def test_offsets_that_hold_no_record_belong_to_the_piece_that_follows_them():
    rows = next(batches([(0, 7, 10_500)], [])).rows
    resumes = {0: opened(0, start=3)}
    chunk = split(Batch(rows, {0: 3}, {0: 8}, {}), resumes, SEGMENT_MS, "id")
    assert [(piece.first, piece.next) for piece in chunk.runs[0].pieces] == [(3, 8)]
    assert chunk.runs[0].start == 3 and resumes[0].next_offset == 8
