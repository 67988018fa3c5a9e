"""Segments and dimension versions of every offset, as the log alone fixes them.

Invariant: a record's segment is that of the running maximum of append_time in its partition, so a boundary T lies at
cut(T). A version that was announced in a partition holds from the partition's next segment on, the highest winning.
A Timeline that begins at a cut is exact from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.cuts import Cut
from lake.headers import read_header

ANNOUNCEMENT_HEADER = "tidemark-dimension"

Versions = dict[str, int]
"""dimension -> version; one that is missing has none yet, which is version 0."""

SURVEY = pa.schema([("partition", pa.int32()), ("segment", pa.int64()), ("first", pa.int64())])
"""The first offset with an append_time in a segment (its start, ms)."""


@dataclass(frozen=True)
class Announcement:
    """A marker that says: from this partition's next segment on, this version of the dimension holds."""

    partition: int
    offset: int
    dimension: str
    version: int


def survey(rows: pa.Table, segment_ms: int) -> pa.Table:
    """SURVEY of some records; those of several parts are concatenated."""
    append_ms = rows["append_time"].cast(pa.int64()).to_numpy() // 1000
    starts = pa.array(append_ms - append_ms % segment_ms)
    named = pa.table({"partition": rows["partition"], "segment": starts, "first": rows["offset"]})
    found = named.group_by(["partition", "segment"]).aggregate([("first", "min")])
    return found.rename_columns(["partition", "segment", "first"]).cast(SURVEY)


def announcements(rows: pa.Table) -> list[Announcement]:
    """The announcements among some records, which have the columns partition, offset and headers."""
    found = []
    for row in rows.filter(pc.greater(pc.list_value_length(rows["headers"]), 0)).to_pylist():
        for header in row["headers"]:
            if header["key"] == ANNOUNCEMENT_HEADER:
                told = read_header(header["value"], dimension=str, version=int)
                if told is not None:
                    found.append(Announcement(row["partition"], row["offset"], told["dimension"], told["version"]))
    return found


@dataclass(frozen=True)
class Timeline:
    """The segments of each partition over a range of offsets, and the versions that hold in them.

    `firsts[p]` are the first offsets of the segments that start at `starts[p]` (ms), both ascending.
    """

    firsts: Mapping[int, np.ndarray]
    starts: Mapping[int, np.ndarray]
    announced: tuple[Announcement, ...] = ()
    before: Mapping[int, Versions] = field(default_factory=dict)
    """Of each partition, the highest versions announced before the range."""

    def segments(self, partition: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """The start, in ms, of each record's segment."""
        result = np.zeros(len(offset), np.int64)
        for p in np.unique(partition).tolist():
            own = partition == p
            result[own] = self.starts[p][np.searchsorted(self.firsts[p], offset[own], side="right") - 1]
        return result

    def versions(self, dimension: str, partition: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """The version of a dimension that holds for each record; 0 where there is none yet."""
        result = np.zeros(len(offset), np.int64)
        for p in np.unique(partition).tolist():
            own = partition == p
            borders, held = self._steps(dimension, p)
            result[own] = held[np.searchsorted(borders, offset[own], side="right")]
        return result

    def versions_in_use(self, dimension: str) -> list[int]:
        """Every version of a dimension that may hold for some record of the range, 0 left out."""
        told = {a.version for a in self.announced if a.dimension == dimension}
        told |= {versions.get(dimension, 0) for versions in self.before.values()}
        return sorted(told - {0})

    def after(self, end: Cut) -> dict[int, Versions]:
        """Of each partition, the highest versions announced before `end`: what `before` is for what follows."""
        result = {p: dict(versions) for p, versions in self.before.items()}
        for a in self.announced:
            if a.offset < end.get(a.partition, 0):
                of_partition = result.setdefault(a.partition, {})
                of_partition[a.dimension] = max(a.version, of_partition.get(a.dimension, 0))
        return result

    def _steps(self, dimension: str, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from which on another version holds, and the versions before, between and after them."""
        steps = []
        firsts = self.firsts[partition]
        for a in self.announced:
            if (a.partition, a.dimension) == (partition, dimension):
                following = np.searchsorted(firsts, a.offset, side="right")
                if following < len(firsts):
                    steps.append((int(firsts[following]), a.version))
        steps.sort()
        held = np.maximum.accumulate(
            np.array([self.before.get(partition, {}).get(dimension, 0), *(version for _, version in steps)], np.int64)
        )
        return np.array([border for border, _ in steps], np.int64), held


def timeline(
    surveys: Iterable[pa.Table],
    announced: Iterable[Announcement] = (),
    before: Mapping[int, Versions] | None = None,
) -> Timeline:
    """The timeline of a range of offsets that begins at a cut, from the SURVEYs of all its records, in any order."""
    told = pa.concat_tables([SURVEY.empty_table(), *surveys])
    # Several parts may tell of one segment; it begins at the least of what they say.
    whole = told.group_by(["partition", "segment"]).aggregate([("first", "min")])
    partition, segment, first = (whole[name].to_numpy() for name in ("partition", "segment", "first_min"))
    firsts, starts = {}, {}
    for p in np.unique(partition).tolist():
        own = partition == p
        order = np.argsort(segment[own], kind="stable")
        own_first, own_segment = first[own][order], segment[own][order]
        # The running maximum reaches a segment at the first record of it or of any later one.
        reached = np.minimum.accumulate(own_first[::-1])[::-1]
        last_of_offset = np.append(np.diff(reached) > 0, True)
        firsts[p], starts[p] = reached[last_of_offset], own_segment[last_of_offset]
    return Timeline(firsts, starts, tuple(announced), before or {})
