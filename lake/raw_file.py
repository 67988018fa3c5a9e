"""One data file of raw, and its row groups: enough to tell, unread, what they cannot hold."""

from __future__ import annotations

from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from lake.cuts import Cut
from lake.raw_schema import RAW_SCHEMA

_PARTITION, _OFFSET = map(RAW_SCHEMA.names.index, ("partition", "offset"))


@dataclass(frozen=True)
class Bounds:
    """What some records lie within: a range of partitions and, over all of these, the first and the last offset."""

    partitions: range
    first: int
    last: int

    def may_hold(self, start: Cut, end: Cut) -> bool:
        """Whether a record with an offset in [start, end) may be among them."""
        return any(self.last >= start.get(p, 0) and self.first < end.get(p, 0) for p in self.partitions)


def group_bounds(group: pq.RowGroupMetaData) -> Bounds | None:
    """Of one row group of a file of raw; None where its statistics do not tell."""
    columns = group.column(_PARTITION), group.column(_OFFSET)
    if [column.path_in_schema for column in columns] != ["partition", "offset"]:
        return None
    partition, offset = (column.statistics for column in columns)
    if not (partition and offset and partition.has_min_max and offset.has_min_max):
        return None
    return Bounds(range(partition.min, partition.max + 1), offset.min, offset.max)


class RawFile:
    """What the Delta log says of one data file: its path under the table and the bounds of what it holds."""

    body: Future[pa.Buffer] | None = None
    """Its bytes, if somebody fetches them ahead; else whoever reads it does."""

    def __init__(self, action: dict) -> None:
        self.path: str = action["path"]
        self.date: date = action["partition.append_date"]
        self.rows: int = action["num_records"]
        self.bytes: int = action["size_bytes"]
        self.first_time: datetime = action["min.append_time"]
        self.last_time: datetime = action["max.append_time"]
        partitions = range(action["min.partition"], action["max.partition"] + 1)
        self._bounds = Bounds(partitions, action["min.offset"], action["max.offset"])

    def with_body(self, body: Future[pa.Buffer]) -> RawFile:
        """The same file, whose bytes are being fetched."""
        fetched = copy(self)
        fetched.body = body
        return fetched

    def may_hold(self, start: Cut, end: Cut) -> bool:
        """Whether a record with an offset in [start, end) may be in it."""
        return self._bounds.may_hold(start, end)

    def is_after(self, first: Cut) -> bool:
        """Whether every record in it comes after the given first offsets."""
        return all(p in first and self._bounds.first > first[p] for p in self._bounds.partitions)
