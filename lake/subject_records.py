"""What raw holds of one subject, and where its markers are, found in one pass over all records.

Invariant: a tile that was built from raw as it is counts as many markers as `markers_in` its cuts says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake.cuts import Cut
from lake.erasure import erased_by
from lake.raw import Raw, lies_between
from lake.raw_schema import RAW_SCHEMA
from lake.subject import Search

_ROWS, _BYTES = 100_000, 16 << 20
_PLACED = ["partition", "offset", "append_time"]
_FOUND = pa.schema([RAW_SCHEMA.field(name) for name in [*_PLACED, "headers"]])
_PLACES = pa.schema([RAW_SCHEMA.field(name) for name in _PLACED])


@dataclass(frozen=True)
class SubjectRecords:
    """Of one version of raw: the subject's records before a cut, with their headers, and those erased already."""

    own: pa.Table
    erased: pa.Table
    """partition, offset, append_time of what this erasure has erased before."""
    later: int
    """The subject's records from the cut on."""
    first_later: datetime | None
    mentioned: int
    """Records of others before the cut that name the value."""
    markers: Mapping[int, np.ndarray]
    """Of each partition, the offsets of all markers, ascending, once `own` are erased."""

    @property
    def places(self) -> pa.Table:
        """partition, offset, append_time of what is erased, or to be, by this erasure."""
        return pa.concat_tables([self.own.select(_PLACED), self.erased])

    def markers_in(self, start: Cut, end: Cut) -> int:
        """How many markers lie in [start, end)."""
        return sum(_inside(self.markers.get(p, _NONE), start.get(p, 0), stop) for p, stop in end.items())

    def holds(self, start: Cut, end: Cut) -> bool:
        """Whether any of `places` lies in [start, end)."""
        return bool(pc.any(lies_between(self.places, start, end)).as_py())


def find_records(raw: Raw, table: DeltaTable, search: Search, before: Cut, erasure: str | None) -> SubjectRecords:
    """Look at every record of this version of raw. `erasure`: one that was begun and killed. Raises RawDamaged."""
    own, erased, markers = [_FOUND.empty_table()], [_PLACES.empty_table()], [_PLACES.empty_table()]
    later, first_later, mentioned = 0, None, 0
    for file in raw.ahead(raw.files(table)):
        for rows in raw.stream(file, _ROWS, _BYTES):
            found = search.among(rows)
            inside = lies_between(found, {}, before)
            subject = found.filter(pc.and_(found["own"], inside)).select(_FOUND.names).cast(_FOUND)
            beyond = found.filter(pc.and_(found["own"], pc.invert(inside)))["append_time"]
            marked = found.filter(found["marker"]).select(_FOUND.names).cast(_FOUND)
            own.append(subject)
            markers += [marked.select(_PLACED), subject.select(_PLACED)]
            if erasure:
                erased.append(marked.filter(erased_by(marked, erasure)).select(_PLACED))
            mentioned += pc.sum(pc.and_(found["mentioned"], inside)).as_py() or 0
            if len(beyond):
                later += len(beyond)
                first = pc.min(beyond).as_py()
                first_later = min(first, first_later or first)
    return SubjectRecords(
        own=pa.concat_tables(own),
        erased=pa.concat_tables(erased),
        later=later,
        first_later=first_later,
        mentioned=mentioned,
        markers=_offsets(markers),
    )


_NONE = np.array([], np.int64)


def _offsets(tables: Iterable[pa.Table]) -> dict[int, np.ndarray]:
    whole = pa.concat_tables(tables)
    partition, offset = whole["partition"].to_numpy(), whole["offset"].to_numpy()
    return {p: np.sort(offset[partition == p]) for p in np.unique(partition).tolist()}


def _inside(offsets: np.ndarray, start: int, end: int) -> int:
    return int(np.searchsorted(offsets, end) - np.searchsorted(offsets, start))
