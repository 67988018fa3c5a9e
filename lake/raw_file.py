"""One data file of raw, as the Delta log describes it: enough to tell, unread, what it cannot hold."""

from __future__ import annotations

from datetime import datetime

from lake.cuts import Cut


class RawFile:
    """What the Delta log says of one data file: its path under the table and the bounds of what it holds."""

    def __init__(self, action: dict) -> None:
        self.path: str = action["path"]
        self.rows: int = action["num_records"]
        self.bytes: int = action["size_bytes"]
        self.first_time: datetime = action["min.append_time"]
        self.last_time: datetime = action["max.append_time"]
        self._partitions = range(action["min.partition"], action["max.partition"] + 1)
        self._first_offset: int = action["min.offset"]
        self._last_offset: int = action["max.offset"]

    def may_hold(self, start: Cut, end: Cut) -> bool:
        """Whether a record with an offset in [start, end) may be in it."""
        return any(
            self._last_offset >= start.get(p, 0) and self._first_offset < end.get(p, 0) for p in self._partitions
        )

    def is_after(self, first: Cut) -> bool:
        """Whether every record in it comes after the given first offsets."""
        return all(p in first and self._first_offset > first[p] for p in self._partitions)
