"""Marks the events of a chunk that repeat earlier ones of their partition.

Invariant: an event is compared with exactly the events of its window, wherever a reader starts: a window that does not
end at the chunk's start is read back first.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from lake.domain import Dedup
from lake.duplicates import Window
from lake.kernel import Kernel
from lake.timeline import survey, timeline
from streaming.pieces import Chunk


class Past(Protocol):
    """Where a window is read back from."""

    def read(self, partition: int, since_ms: int, end: int) -> pa.Table:
        """The records (RAW_SCHEMA) of [cut(since), end), in order."""


class RepeatFinder:
    """The windows of the partitions that one kernel reads."""

    def __init__(self, kernel: Kernel, dedup: Dedup, segment_seconds: int, past: Past) -> None:
        self._kernel, self._past = kernel, past
        self._segment_ms = segment_seconds * 1000
        self._window_ms = dedup.segments * self._segment_ms
        self._windows: dict[int, Window] = {}

    def parse(self, chunk: Chunk) -> None:
        """Let the kernel take in the chunk, its repeats marked."""
        for p, run in chunk.runs.items():
            if p not in self._windows or self._windows[p].next != run.start:
                self._windows[p] = self._read_back(p, run.pieces[0].segment, run.start)
        self._kernel.parse(chunk.rows)
        identities = self._kernel.identities()
        partitions = identities["partition"].to_numpy()
        found = []
        for p, run in chunk.runs.items():
            own = identities.filter(pa.array(partitions == p))
            segments = chunk.segments(p, own["offset"].to_numpy())
            found.append(self._windows[p].mark(own, segments, run.pieces[-1].next))
        self._kernel.mark(pa.concat_tables(found))

    def _read_back(self, partition: int, segment: int, start: int) -> Window:
        """The window before `start`, whose event is in `segment`."""
        window = Window(self._window_ms, start)
        rows = self._past.read(partition, segment - self._window_ms + self._segment_ms, start)
        if len(rows):
            self._kernel.parse(rows)
            identities = self._kernel.identities()
            segments = timeline([survey(rows, self._segment_ms)]).segments(
                identities["partition"].to_numpy(), identities["offset"].to_numpy()
            )
            window.mark(identities, np.asarray(segments), start)
        return window
