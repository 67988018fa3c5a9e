"""The one kernel that both layers carry: parse, aggregate, merge, present, as DuckDB SQL over Arrow tables.

Invariant: `merge` of `run` over any split of a batch, in any order, equals `run` over the whole, as canonical states:
rows sorted by key, typed exactly as `schema` says. Spark, Beam and verify only bring tables here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime

import duckdb
import pyarrow as pa

from lake.compile import COUNTS, QUARANTINE, built_in_plans, compile_view, definition_text, stored_below
from lake.domain import Domain
from lake.duplicates import DUPLICATE, IDENTITIES
from lake.joins import Joins, ReadDimension, key_of, key_sql, version_of
from lake.measures import MACROS
from lake.parse import MARKER, parse_sql
from lake.plan import Plan
from lake.raw_schema import RAW_SCHEMA
from lake.reading import check_reading

__all__ = [
    "COUNTS",
    "KERNEL_VERSION",
    "QUARANTINE",
    "Kernel",
    "ReadDimension",
    "decode",
    "encode",
    "key_of",
    "version_of",
]

KERNEL_VERSION = 3
_LARGE_BYTES = 16 << 10
# DuckDB's optimizer lifts an expression that occurs twice out of its TRY, where one odd event then stops the query.
# What `parse` repeats cannot fail, so there it may share.
NO_SHARING = "SET disabled_optimizers = 'common_subexpressions'"
_SHARING = "SET disabled_optimizers = ''"


class Kernel:
    """The compiled views of one domain on one DuckDB connection. One a thread; not to be shared.

    Besides the declared views it keeps two of its own: `_quarantine`, a row for each bad record
    (partition, offset | append_time, key, value, reason), and `_counts`
    (partition | events, good, quarantined, markers, duplicates), where events is the sum of the others.

    `dimensions` reads a version of a dimension, `Dimensions.table` say; only batches with versions need it.
    """

    def __init__(self, domain: Domain, dimensions: ReadDimension | None = None, memory_limit: str = "1GB") -> None:
        self._domain = domain
        self._db = duckdb.connect(config={"threads": 1, "memory_limit": memory_limit})
        self._db.execute("SET TimeZone = 'UTC'")
        self._db.execute(MACROS)
        self._db.execute(NO_SHARING)
        self._joins = Joins(self._db, domain, dimensions)
        self._db.register("batch", self._joins.with_versions(RAW_SCHEMA.empty_table()))
        self._parse = parse_sql(domain, "batch")
        self._db.execute(f"CREATE TEMP TABLE parsed AS {self._parse}")
        self._plans = {name: compile_view(self._db, domain, view) for name, view in domain.stored_views.items()}
        self._plans |= built_in_plans()
        self._schemas = {
            name: _canonical_schema(self._db.sql(plan.aggregate()).to_arrow_table().schema)
            for name, plan in self._plans.items()
        }
        self._queries: dict[str, duckdb.DuckDBPyRelation] = {}
        self._over: dict[str, Plan] = {}
        self._hashes: dict[str, str] = {}
        for name in domain.stored_views:
            self._check_reading(name, self._schemas[name].empty_table())
        for name in domain.views:
            self._compile_over(name)

    @property
    def names(self) -> list[str]:
        """The views that have states: the declared ones that are over no other, then the built-in ones."""
        return list(self._plans)

    def stored(self, name: str) -> str:
        """The view whose states a view is read from: itself, or the one that it is over."""
        return stored_below(self._domain, name)

    def schema(self, name: str) -> pa.Schema:
        """Keys, then states. Times are timestamp[us, UTC]."""
        return self._schemas[name]

    def keys(self, name: str) -> list[str]:
        return list(self._plans[name].keys)

    def run(self, batch: pa.Table, by: Sequence[str] = (), names: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Raw records -> the canonical states of the views in `names` (None: all); `parse`, then `aggregate`."""
        self.parse(batch)
        return self.aggregate(by, names)

    def parse(self, batch: pa.Table) -> None:
        """Take in raw records: RAW_SCHEMA's columns, any int64 columns to aggregate by, and for each dimension of the
        domain the int64 column `version_of(dimension)`, the version that holds for the record (all 0 if left out).
        """
        batch = self._joins.with_versions(batch)
        self._joins.load(batch)
        self._db.register("batch", batch)
        self._db.execute(_SHARING)
        try:
            self._db.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {self._parse}")
        finally:
            self._db.execute(NO_SHARING)

    def keyed(self, batch: pa.Table) -> pa.Table:
        """Raw records with what they are joined on, one column `key_of(dimension)` for each dimension."""
        self._db.register("batch", self._joins.with_versions(batch))
        columns = ", ".join(f'{key_sql(self._domain, name)} AS "{key_of(name)}"' for name in self._domain.dimensions)
        raw = ", ".join(f'"{column}"' for column in [*RAW_SCHEMA.names, *map(version_of, self._domain.dimensions)])
        return self._db.sql(f"SELECT {raw}, {columns} FROM ({self._parse})").to_arrow_table()

    def give_dimension(self, name: str, rows: pa.Table) -> None:
        """Make these rows (version, key, columns as text) all that is known of a dimension, until others are given."""
        self._joins.give(name, rows)

    def identities(self) -> pa.Table:
        """IDENTITIES of the events taken in, in their order; none where the domain declares no dedup."""
        if self._domain.dedup is None:
            return IDENTITIES.empty_table()
        key = f"TRY(CAST(({self._domain.dedup.key}) AS VARCHAR))"
        sql = f"""SELECT "partition", "offset", {key} AS identity, md5_number_lower(value) AS payload
            FROM parsed WHERE flaws & 1 = 0 AND identity IS NOT NULL"""
        return self._query(sql).cast(IDENTITIES)

    def quarantined(self) -> dict[int, int]:
        """How many of the records taken in are bad, by partition; those without any are left out."""
        sql = f"SELECT \"partition\", count(*) FROM parsed WHERE reason NOT IN ('{MARKER}', '{DUPLICATE}') GROUP BY 1"
        partitions, counts = self._query(sql).to_pydict().values()
        return dict(zip(partitions, counts, strict=True))

    def mark(self, repeats: pa.Table) -> None:
        """Mark events taken in that repeat others (REPEATS): no view counts them, and conflicts go to quarantine."""
        if len(repeats):
            self._db.register("repeats", repeats)
            self._db.execute(
                "UPDATE parsed SET reason = repeats.repeats, flaws = flaws | 1 FROM repeats "
                'WHERE parsed."partition" = repeats."partition" AND parsed."offset" = repeats."offset"'
            )

    def aggregate(self, by: Sequence[str] = (), names: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """The canonical states of what was taken in; the columns in `by` become leading keys."""
        wanted = self.names if names is None else names
        return {name: self._table(name, self._plans[name].aggregate(by), by) for name in wanted}

    def merge(self, name: str, tables: Sequence[pa.Table], by: Sequence[str] = ()) -> pa.Table:
        """States -> the canonical states of their union. No tables give no rows."""
        schema = self._with(by, name)
        states = pa.concat_tables([t.select(schema.names).cast(schema) for t in tables] or [schema.empty_table()])
        self._db.register(":states", _unsliced(states))
        return self._table(name, self._plans[name].merge(by), by)

    def present(self, name: str, states: pa.Table) -> pa.Table:
        """States (of `stored(name)`) -> the values of every row; a view over no other keeps their order."""
        plan = self._plan(name)
        if name in self._over:
            below = self._domain.views[name].over
            assert below is not None
            self._db.register("below", self.present(below, states))
            states = self._db.sql(plan.aggregate()).to_arrow_table()
        self._db.register(":states", _unsliced(states))
        return self._db.sql(plan.present()).to_arrow_table()

    def shown(self, name: str, values: pa.Table, as_of: datetime) -> pa.Table:
        """Values -> the rows that the view shows: having, retention (as of a time), order and limit applied."""
        plan = self._plan(name)
        self._db.register(":presented", values)
        return self._db.sql(plan.shown(), params={"as_of": as_of} if plan.retention else None).to_arrow_table()

    def sql(self, name: str) -> dict[str, str]:
        """The SQL of each step of a view, for people."""
        plan = self._plan(name)
        steps = {"aggregate": plan.aggregate(), "merge": plan.merge(), "present": plan.present()}
        return {"parse": self._parse, **steps, "show": plan.shown()}

    def definition_hash(self, name: str) -> str:
        """16 hex digits over all that decides the states: SQL, macros, kernel's and DuckDB's versions."""
        if name not in self._hashes:
            text = json.dumps([definition_text(self._db, self._domain, name), KERNEL_VERSION, duckdb.__version__])
            self._hashes[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._hashes[name]

    def generation(self, segment_seconds: int) -> str:
        """Names the speed states that fit together: same definitions, same segments."""
        hashes = sorted((name, self.definition_hash(name)) for name in self._domain.stored_views)
        text = json.dumps([hashes, segment_seconds])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _plan(self, name: str) -> Plan:
        return self._over.get(name) or self._plans[name]

    def _compile_over(self, name: str) -> None:
        """Compile a view over another, after that one, whose columns it reads."""
        view = self._domain.views[name]
        if view.over is None or name in self._over:
            return
        self._compile_over(view.over)
        self._db.register("below", self.present(view.over, self._schemas[self.stored(name)].empty_table()))
        self._over[name] = plan = compile_view(self._db, self._domain, view)
        self._check_reading(name, self._db.sql(plan.aggregate()).to_arrow_table())

    def _check_reading(self, name: str, states: pa.Table) -> None:
        self._db.register(":states", states)
        check_reading(self._db, self._domain.name, name, self._plan(name))

    def _with(self, by: Sequence[str], name: str) -> pa.Schema:
        return pa.schema([pa.field(column, pa.int64()) for column in by] + list(self._schemas[name]))

    def _table(self, name: str, sql: str, by: Sequence[str]) -> pa.Table:
        return self._query(sql).cast(self._with(by, name))

    def _query(self, sql: str) -> pa.Table:
        # Bound once, which is much of what a small batch costs; what it reads is looked up whenever it runs.
        if sql not in self._queries:
            self._queries[sql] = self._db.sql(sql)
        return self._queries[sql].to_arrow_table()


def _unsliced(states: pa.Table) -> pa.Table:
    """The same rows from the beginning of their arrays: DuckDB refuses a struct from the middle of one."""
    if any(pa.types.is_struct(field.type) for field in states.schema):
        return states.combine_chunks().take(pa.array(range(len(states)), pa.int64()))
    return states


def _canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The types that DuckDB, Arrow, Spark and Delta all hold: times carry UTC, list items have one name."""

    def canonical(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", "UTC")
        if pa.types.is_list(kind):
            return pa.list_(pa.field("element", canonical(kind.value_type)))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(f.name, canonical(f.type)) for f in kind])
        return kind

    return pa.schema([pa.field(f.name, canonical(f.type)) for f in schema])


def encode(states: pa.Table) -> bytes:
    """States as an Arrow IPC stream, compressed if large. Transport only: equal states may have unequal bytes."""
    sink = pa.BufferOutputStream()
    # Each column is compressed by itself, which takes twenty times as long as writing a small one does.
    options = pa.ipc.IpcWriteOptions(compression="zstd" if states.nbytes >= _LARGE_BYTES else None)
    with pa.ipc.new_stream(sink, states.schema, options=options) as writer:
        writer.write_table(states)
    return sink.getvalue().to_pybytes()


def decode(data: bytes) -> pa.Table:
    """The inverse of `encode`."""
    return pa.ipc.open_stream(data).read_all()
