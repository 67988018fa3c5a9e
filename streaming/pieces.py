"""Splits what was read at segment boundaries: which record belongs to which segment's state.

Invariant: a record's segment is that of the running maximum of append_time in its partition, so segments never go
back, and a boundary T lies at the first offset with append_time >= T: at cut(T), whatever the brokers' clocks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from lake.kernel import version_of
from lake.store import Piece, Resume
from lake.timeline import Announcement, announcements
from streaming.log_reader import Batch

PIECE = ":piece"


@dataclass(frozen=True)
class Run:
    """What a chunk holds of one partition: [start, pieces[-1].next), whose pieces are still without states.

    The chunk's rows number the pieces of all its runs: this run's first one is `number`.
    """

    start: int
    number: int
    pieces: tuple[Piece, ...]
    epoch: int
    versions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Of each dimension: held in the last piece's segment, announced up to its end."""


@dataclass(frozen=True)
class Chunk:
    """Records of one group of partitions, and the runs they make up.

    `rows` has RAW_SCHEMA's columns, `piece`, and for each dimension the version that holds for the record.
    """

    group: int
    topic_id: str
    rows: pa.Table
    runs: dict[int, Run]

    def segments(self, partition: int, offsets: np.ndarray) -> np.ndarray:
        """The start, in ms, of the segment of each of a partition's offsets."""
        pieces = self.runs[partition].pieces
        nexts = np.array([piece.next for piece in pieces])
        return np.array([piece.segment for piece in pieces])[np.searchsorted(nexts, offsets, side="right")]


def split(batch: Batch, resumes: dict[int, Resume], segment_ms: int, topic_id: str, group: int = 0) -> Chunk:
    """A batch as a chunk; `resumes` (where each partition stood before) is moved on to the batch's end."""
    partitions = batch.rows["partition"].to_numpy()
    offsets = batch.rows["offset"].to_numpy()
    append_ms = batch.rows["append_time"].cast(pa.int64()).to_numpy() // 1000
    numbers = np.empty(len(partitions), np.int64)
    announced = announcements(batch.rows)
    held: list[dict[str, int]] = []  # by number of the piece
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
        own_announced = [a for a in announced if a.partition == p]
        versions = _follow(before.versions, pieces, before.segment == segments[0], own_announced, held)
        runs[p] = Run(before.next_offset, number, pieces, epoch, versions)
        number += len(pieces)
        tail = pieces[-1]
        resumes[p] = Resume(end, topic_id, epoch, tail.segment, tail.max_append_ms, tail.first, versions)
    rows = batch.rows.append_column(PIECE, pa.array(numbers))
    for name in sorted({name for versions in held for name in versions}):
        of_piece = np.array([versions.get(name, 0) for versions in held], np.int64)
        rows = rows.append_column(version_of(name), pa.array(of_piece[numbers]))
    return Chunk(group, topic_id, rows, runs)


def _follow(
    before: Mapping[str, tuple[int, int]],
    pieces: tuple[Piece, ...],
    goes_on: bool,
    announced: list[Announcement],
    held: list[dict[str, int]],
) -> dict[str, tuple[int, int]]:
    """The versions after a run's pieces; those that hold in each of them are added to `held`.

    `goes_on`: the first piece is in the segment that `before` is of.
    """
    versions = dict(before)
    for index, piece in enumerate(pieces):
        if index or not goes_on:
            versions = {name: (highest, highest) for name, (_, highest) in versions.items()}
        held.append({name: version for name, (version, _) in versions.items()})
        for a in announced:
            if piece.first <= a.offset < piece.next:
                version, highest = versions.get(a.dimension, (0, 0))
                versions[a.dimension] = (version, max(highest, a.version))
    return versions
