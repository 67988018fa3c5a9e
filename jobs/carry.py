"""Spark carries the kernel over raw: partial states beside the data, a shuffle on the keys, merged states.

Invariant: raw is parsed once for all views, and no task holds more than a bounded number of bytes of states of what it
has read so far. What comes out equals the kernel over all records in one call, whatever the tasks were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

from jobs.columns import spark_schema
from jobs.runs import join_runs, runs_of
from jobs.session import SHUFFLE_PARTITIONS, with_secrets, without_secrets
from jobs.task_files import TaskFiles
from lake.dimensions import Dimensions
from lake.domain import Domain
from lake.kernel import Kernel, ReadDimension, decode, encode
from lake.marks import Marks
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings

RUNS = "_runs"  # the offsets read, carried like a view
BUCKETS = 16  # a view's keys, so that no merge needs all of them at once
HELD_BYTES = 64 << 20
PIECE_BYTES = 4 << 20

# One shape for the states of every view, so that one pass and one shuffle carry them all.
PARCEL = pa.schema([("view", pa.string()), ("bucket", pa.int32()), ("rows", pa.int64()), ("states", pa.binary())])
By = tuple[str, ...]
Parse = Callable[[Kernel, pa.Table], None]
"""Lets a kernel take in records."""


def carry(records: DataFrame, domain: Domain, by: By = (), held_bytes: int = HELD_BYTES) -> DataFrame:
    """Parcels of the states of every view, merged: each key is in one row of one parcel.

    `records` has raw's columns and the long columns named in `by`, which become leading keys. A task lets go of what
    it holds above `held_bytes`; the result is the same for any.
    """
    run = partial(_run_batches, domain=domain, by=by, held_bytes=held_bytes)
    parcels = records.select(*RAW_SCHEMA.names, *by).mapInArrow(run, spark_schema(PARCEL))
    return merge_parcels(parcels, domain, by, held_bytes)


def carry_files(session: SparkSession, files: TaskFiles, marks: Marks) -> DataFrame:
    """The same for the records of raw's files; `marks` are theirs."""
    parcels = files.map(session, partial(_run_files, domain=files.domain, marks=marks), PARCEL)
    return merge_parcels(parcels, files.domain)


def carry_prepared(records: DataFrame, settings: Settings, domain: Domain, parse: Parse) -> DataFrame:
    """The same for records that Spark has joined; `parse` lets the kernel take them in."""
    run = partial(_run_joined, settings=without_secrets(settings), domain=domain, parse=parse)
    return merge_parcels(records.mapInArrow(run, spark_schema(PARCEL)), domain)


def merge_parcels(parcels: DataFrame, domain: Domain, by: By = (), held_bytes: int = HELD_BYTES) -> DataFrame:
    """The shuffle on the keys, and the merge after it: parcels in which each key is in one row of one parcel."""
    merge = partial(_merge, domain=domain, by=by, held_bytes=held_bytes)
    placed = parcels.repartition(SHUFFLE_PARTITIONS, "view", "bucket").sortWithinPartitions("view", "bucket")
    return placed.mapInArrow(merge, spark_schema(PARCEL))


def unpack(parcels: DataFrame, name: str, schema: pa.Schema) -> DataFrame:
    """One view's parcels as rows of its own columns."""
    return parcels.where(col("view") == name).mapInArrow(partial(_unpack, schema=schema), spark_schema(schema))


def collect(parcels: DataFrame, name: str) -> list[pa.Table]:
    """One view's parcels, here in the driver. For small ones."""
    return collect_views(parcels, [name])[name]


def collect_views(parcels: DataFrame, names: Collection[str]) -> dict[str, list[pa.Table]]:
    """The same for several views in one job of Spark's."""
    found: dict[str, list[pa.Table]] = {name: [] for name in names}
    for row in parcels.where(col("view").isin(*names)).select("view", "states").collect():
        found[row.view].append(decode(bytes(row.states)))
    return found


def _merging_kernel(domain: Domain) -> Kernel:
    """A kernel that merges and takes in nothing; this process's last one if it fits, as compiling takes 0.1 s."""
    global _merging
    if _merging is None or _merging[0] != domain:
        _merging = domain, Kernel(domain)
    return _merging[1]


_merging: tuple[Domain, Kernel] | None = None


class _Held:
    """The states of one task so far, by view; merged, and let go as parcels, when they grow."""

    def __init__(self, kernel: Kernel, by: By, held_bytes: int) -> None:
        self.kernel = kernel
        self._by = by
        self._tables: dict[str, list[pa.Table]] = {}
        self._bytes = 0
        self._limit = self._much = held_bytes

    def add(self, name: str, states: pa.Table) -> None:
        if states.num_rows:
            self._tables.setdefault(name, []).append(states)
            self._bytes += states.nbytes

    def settle(self) -> bool:
        """Merge if much is held. True if much remains: then it is time to let go."""
        if self._bytes > self._much:
            self._tables = {name: [self._merged(name)] for name in self._tables}
            self._bytes = sum(table.nbytes for [table] in self._tables.values())
            # States that do not shrink are not merged again at every batch.
            self._much = max(self._limit, 2 * self._bytes)
        return self._bytes > self._limit // 2

    def release(self) -> Iterator[tuple[str, pa.Table]]:
        for name in list(self._tables):
            merged = self._merged(name)
            del self._tables[name]
            yield name, merged
        self._bytes, self._much = 0, self._limit

    def _merged(self, name: str) -> pa.Table:
        tables = self._tables[name]
        return join_runs(tables) if name == RUNS else self.kernel.merge(name, tables, self._by)


def _run_batches(
    batches: Iterator[pa.RecordBatch], domain: Domain, by: By, held_bytes: int
) -> Iterator[pa.RecordBatch]:
    yield from _run((pa.Table.from_batches([batch]) for batch in batches), domain, by, held_bytes)


def _run_files(
    settings: Settings, records: Iterator[pa.Table], domain: Domain, marks: Marks
) -> Iterator[pa.RecordBatch]:
    yield from _run(records, domain, (), HELD_BYTES, marks.parse, Dimensions(settings).table)


def _run_joined(
    batches: Iterator[pa.RecordBatch], settings: Settings, domain: Domain, parse: Parse
) -> Iterator[pa.RecordBatch]:
    rows = (pa.Table.from_batches([batch]) for batch in batches)
    yield from _run(rows, domain, (), HELD_BYTES, parse, Dimensions(with_secrets(settings)).table)


def _run(
    records: Iterator[pa.Table],
    domain: Domain,
    by: By,
    held_bytes: int,
    parse: Parse = Kernel.parse,
    dimensions: ReadDimension | None = None,
) -> Iterator[pa.RecordBatch]:
    held, buckets = _Held(Kernel(domain, dimensions), by, held_bytes), Buckets()

    def parcels() -> Iterator[pa.RecordBatch]:
        for name, states in held.release():
            keys = [] if name == RUNS else [*by, *held.kernel.keys(name)]
            for bucket, part in buckets.split(states, keys):
                yield from to_parcels(name, bucket, part)

    for rows in records:
        held.add(RUNS, runs_of(rows))
        parse(held.kernel, rows)
        for name, states in held.kernel.aggregate(by).items():
            held.add(name, states)
        if held.settle():
            yield from parcels()
    yield from parcels()


def _merge(batches: Iterator[pa.RecordBatch], domain: Domain, by: By, held_bytes: int) -> Iterator[pa.RecordBatch]:
    held = _Held(_merging_kernel(domain), by, held_bytes)
    parcels = (parcel for batch in batches for parcel in batch.to_pylist())
    for (view, bucket), group in groupby(parcels, key=itemgetter("view", "bucket")):
        for parcel in group:
            held.add(view, decode(parcel["states"]))
            held.settle()
        for name, states in held.release():
            yield from to_parcels(name, bucket, states)


def _unpack(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for states in batch["states"]:
            yield from decode(states.as_py()).cast(schema).to_batches()


def to_parcels(name: str, bucket: int, states: pa.Table) -> Iterator[pa.RecordBatch]:
    """A table as parcels of at most about PIECE_BYTES."""
    rows = max(1, states.num_rows * PIECE_BYTES // max(states.nbytes, 1))
    for start in range(0, states.num_rows, rows):
        piece = states.slice(start, rows)
        yield pa.RecordBatch.from_pydict(
            {"view": [name], "bucket": [bucket], "rows": [piece.num_rows], "states": [encode(piece)]},
            schema=PARCEL,
        )


class Buckets:
    """Splits states by a hash of their keys that is the same in every process."""

    def __init__(self) -> None:
        self._db = duckdb.connect(config={"threads": 1})

    def split(self, states: pa.Table, keys: list[str]) -> Iterator[tuple[int, pa.Table]]:
        if not keys:
            yield 0, states
            return
        self._db.register("states", states)
        columns = ", ".join(f'"{key}"' for key in keys)
        hashed = f"md5_number_lower(row({columns})::VARCHAR) % {BUCKETS}"
        bucket = self._db.sql(f"SELECT ({hashed})::INTEGER AS bucket FROM states").to_arrow_table()["bucket"]
        for value in sorted(bucket.unique().to_pylist()):
            yield value, states.filter(pc.equal(bucket, value))
