"""Every view computed from raw with the plain kernel: no mart, no store, no Spark, no Beam.

Invariant: each view's states are those of exactly the records below its own head, whatever the other views' heads are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from lake.cuts import Cut
from lake.errors import RawDamaged
from lake.kernel import COUNTS, Kernel
from lake.marks import Marks
from lake.raw import Raw, lies_between
from lake.raw_schema import RAW_SCHEMA
from lake.small_files import joined

_ROWS_A_RUN = 250_000
_BYTES_A_RUN = 64 << 20
_PARTS = 20
BELOW = ":below"


class Recompute:
    """States of each view below its head, from raw records in any order, and every offset seen; `marks` are theirs."""

    def __init__(self, kernel: Kernel, heads: Mapping[str, Cut], marks: Marks) -> None:
        self._kernel = kernel
        self._marks = marks
        self._heads = heads
        self._distinct = [dict(head) for head in {tuple(sorted(head.items())) for head in heads.values()}]
        self._parts: dict[str, list[pa.Table]] = {name: [] for name in [*heads, COUNTS]}
        self.offsets = [RAW_SCHEMA.empty_table().select(["partition", "offset"])]

    def add(self, rows: pa.Table) -> None:
        """Parse once for all heads: a record's `below` has a bit for each head that it lies below."""
        self.offsets.append(rows.select(["partition", "offset"]))
        below = np.zeros(len(rows), np.int64)
        for bit, head in enumerate(self._distinct):
            below |= lies_between(rows, {}, head).to_numpy(zero_copy_only=False).astype(np.int64) << bit
        self._marks.parse(self._kernel, rows.append_column(BELOW, pa.array(below)))
        states = self._kernel.aggregate((BELOW,), list(self._parts))
        for name, parts in self._parts.items():
            parts.append(self._below(states[name], name))
            if len(parts) > _PARTS:
                parts[:] = [self._kernel.merge(name, parts)]

    def _below(self, states: pa.Table, name: str) -> pa.Table:
        """The states of the records that count for `name`: those below its head, and all of them for the counts."""
        if name in self._heads:
            bit = self._distinct.index(self._heads[name])
            states = states.filter(pa.array(states[BELOW].to_numpy() >> bit & 1 == 1))
        return states.drop_columns([BELOW])

    def states(self, name: str) -> pa.Table:
        return self._kernel.merge(name, self._parts[name])


def records(raw: Raw, table: DeltaTable, problems: list[str]) -> Iterator[pa.Table]:
    """Raw's records in chunks of many files; a file that is lost is told in `problems`, and left out."""

    def readable() -> Iterator[pa.Table]:
        for file in raw.ahead(raw.files(table)):
            try:
                yield from raw.stream(file, _ROWS_A_RUN, _BYTES_A_RUN)
            except RawDamaged as error:
                problems.append(str(error))

    return joined(readable(), _ROWS_A_RUN, _BYTES_A_RUN)
