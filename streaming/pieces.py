"""Splits what was read at segment boundaries: which record belongs to which segment's state.

Invariant: a record's segment is that of the running maximum of append_time in its partition, so segments never go
back, and a boundary T lies at the first offset with append_time >= T: at cut(T), whatever the brokers' clocks do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lake.store import Piece, Resume
from streaming.log_reader import Batch

PIECE = "piece"


@dataclass(frozen=True)
class Run:
    """What a chunk holds of one partition: [start, pieces[-1].next), whose pieces are still without states.

    The chunk's rows number the pieces of all its runs: this run's first one is `number`.
    """

    start: int
    number: int
    pieces: tuple[Piece, ...]
    epoch: int


@dataclass(frozen=True)
class Chunk:
    """Records of one group of partitions (RAW_SCHEMA and `piece`), and the runs they make up."""

    group: int
    topic_id: str
    rows: pa.Table
    runs: dict[int, Run]


def split(batch: Batch, resumes: dict[int, Resume], segment_ms: int, topic_id: str, group: int = 0) -> Chunk:
    """A batch as a chunk; `resumes` (where each partition stood before) is moved on to the batch's end."""
    partitions = batch.rows["partition"].to_numpy()
    offsets = batch.rows["offset"].to_numpy()
    append_ms = batch.rows["append_time"].cast(pa.int64()).to_numpy() // 1000
    numbers = np.empty(len(partitions), np.int64)
    runs: dict[int, Run] = {}
    number = 0
    for p, end in batch.end.items():
        own = np.flatnonzero(partitions == p)
        before = resumes[p]
        running = np.maximum(np.maximum.accumulate(append_ms[own]), before.max_append_ms)
        segments = running - running % segment_ms
        borders = np.flatnonzero(np.diff(segments)) + 1
        firsts = [before.next_offset, *offsets[own][borders].tolist()]
        if before.segment == segments[0]:
            firsts[0] = before.first
        nexts = [*offsets[own][borders].tolist(), end]
        lasts = [*(borders - 1).tolist(), len(own) - 1]
        pieces = tuple(
            Piece(int(segments[last]), first, next_, int(running[last]), {})
            for first, next_, last in zip(firsts, nexts, lasts, strict=True)
        )
        numbers[own] = number + np.searchsorted(borders, np.arange(len(own)), side="right")
        epoch = batch.epochs.get(p, -1)
        runs[p] = Run(before.next_offset, number, pieces, epoch)
        number += len(pieces)
        tail = pieces[-1]
        resumes[p] = Resume(end, topic_id, epoch, tail.segment, tail.max_append_ms, tail.first)
    return Chunk(group, topic_id, batch.rows.append_column(PIECE, pa.array(numbers)), runs)
