"""Which offsets were read, as runs [first, next) of each partition: how a slice proves that it has every record once.

Invariant: runs are never joined over a gap nor over an overlap, so a hole and a double both stay visible to the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lake.cuts import Cut
from lake.errors import RawDamaged

SCHEMA = pa.schema([("partition", pa.int32()), ("first", pa.int64()), ("next", pa.int64())])


def runs_of(records: pa.Table) -> pa.Table:
    """The runs of raw records in any order."""
    offset = records["offset"].to_numpy()
    return _joined(records["partition"].to_numpy(), offset, offset + 1)


def join_runs(tables: Sequence[pa.Table]) -> pa.Table:
    """The runs of all tables, adjoining ones made one."""
    runs = pa.concat_tables([SCHEMA.empty_table(), *tables])
    return _joined(*(runs[name].to_numpy() for name in SCHEMA.names))


def check_runs(runs: pa.Table, start: Cut, end: Cut, table: str) -> None:
    """Raise RawDamaged unless the runs are exactly [start, end), naming what lacks or is there twice."""
    found: dict[int, list[tuple[int, int]]] = {}
    for run in join_runs([runs]).to_pylist():
        found.setdefault(run["partition"], []).append((run["first"], run["next"]))
    for partition, stop in sorted(end.items()):
        expected = start.get(partition, 0)
        for first, following in [*found.pop(partition, []), (stop, stop)]:
            if first != expected:
                problem = "lacks" if first > expected else "holds twice or beyond the cut"
                low, high = sorted((first, expected))
                raise RawDamaged(
                    f"{table} {problem} offsets [{low}, {high}) of partition {partition}, "
                    f"expected each of [{start.get(partition, 0)}, {stop}) once; "
                    "run `tidemark verify` and restore the lost files before building again"
                )
            expected = following
    if found:
        raise RawDamaged(f"{table} gave partitions {sorted(found)}, which the cut {end} does not have")


def _joined(partition: np.ndarray, first: np.ndarray, following: np.ndarray) -> pa.Table:
    order = np.lexsort((following, first, partition))
    partition, first, following = partition[order], first[order], following[order]
    begins = np.ones(len(first), dtype=bool)
    begins[1:] = (partition[1:] != partition[:-1]) | (first[1:] != following[:-1])
    ends = np.roll(begins, -1)
    return pa.table([partition[begins], first[begins], following[ends]], schema=SCHEMA)
