"""Reads from raw what a topic has forgotten: the records from where a reader stands to where the log now begins.

Invariant: a partition's records come in the order of their offsets, none missing, up to the log's beginning.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from lake.cuts import count, covers
from lake.errors import RetentionPassed
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from streaming.log_reader import Batch
from streaming.topic import Topic

_WINDOW_RECORDS, _WINDOW_BYTES = 100_000, 16 << 20


class GapReader:
    """The offsets [positions, ends) of some partitions; a LogReader without waiting. Raises RetentionPassed."""

    def __init__(self, raw: Raw, topic: Topic, positions: Mapping[int, int], ends: Mapping[int, int]) -> None:
        self.topic = topic
        self.positions = dict(positions)
        self._raw, self._ends = raw, dict(ends)
        self._table = raw.table()
        if not covers(raw.positions(self._table), self._ends):
            raise RetentionPassed(
                f"topic '{topic.name}' begins at {self._ends}, expected {self.positions}: Kafka deleted records that "
                f"were not read, and {raw.uri} does not hold them either. They are lost unless another copy exists; "
                "lengthen the topic's retention"
            )
        self._window = RAW_SCHEMA.empty_table()

    def poll(self, max_records: int, max_bytes: int, seconds: float) -> Batch | None:
        """The next records, at most `max_records`; None once there are no more."""
        if not len(self._window):
            self._window = self._next_window()
        rows = self._window.slice(0, max_records)
        self._window = self._window.slice(len(rows))
        if not len(rows):
            return None
        lasts = rows.group_by("partition").aggregate([("offset", "max")]).to_pylist()
        end = {last["partition"]: last["offset_max"] + 1 for last in lasts}
        start = {p: self.positions[p] for p in end}
        self.positions |= end
        return Batch(rows, start, end, dict.fromkeys(end, -1))

    def close(self) -> None:
        self._window = RAW_SCHEMA.empty_table()

    def _next_window(self) -> pa.Table:
        """Sorted by partition, then offset; empty at the end."""
        left = {p: at for p, at in self.positions.items() if at < self._ends[p]}
        if not left:
            return RAW_SCHEMA.empty_table()
        files = [file for file in self._raw.files(self._table) if file.may_hold(left, self._ends)]
        bytes_a_record = sum(file.bytes for file in files) / max(1, sum(file.rows for file in files))
        records = int(min(_WINDOW_RECORDS, _WINDOW_BYTES / max(bytes_a_record, 1.0)))
        ends = {p: min(at + max(1, records // len(left)), self._ends[p]) for p, at in left.items()}
        rows = pa.concat_tables([RAW_SCHEMA.empty_table(), *self._raw.scan(left, ends, self._table)])
        if len(rows) != count(left, ends):
            raise RetentionPassed(
                f"topic '{self.topic.name}' has forgotten offsets {left} to {ends}, of which {self._raw.uri} holds "
                f"{len(rows)} records instead of {count(left, ends)}; run `tidemark verify`"
            )
        return rows.sort_by([("partition", "ascending"), ("offset", "ascending")])
