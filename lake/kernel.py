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
import pyarrow.compute as pc

from lake.compile import (
    COUNTS,
    QUARANTINE,
    built_in_plans,
    compile_view,
    definition_text,
    read_columns,
    stored_below,
)
from lake.domain import Domain
from lake.duplicates import DUPLICATE, IDENTITIES
from lake.joins import Joins, ReadDimension, key_of, key_sql, version_of
from lake.measures import MACROS
from lake.parse import MARKER, parse_sql
from lake.plan import STATES, Plan
from lake.raw_schema import RAW_SCHEMA
from lake.reading import check_reading
from lake.statements import Statements
from lake.states import canonical_schema, decode, encode, unsliced

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
_NOT_BAD = pa.array([MARKER, DUPLICATE])
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
        self._statements = Statements(self._db)
        self._joins = Joins(self._db, domain, dimensions)
        self._parse = parse_sql(domain, "batch")
        self._kept = _kept(domain, self._parse)
        self.parse(RAW_SCHEMA.empty_table())
        self._plans = {name: compile_view(self._db, domain, view) for name, view in domain.stored_views.items()}
        self._plans |= built_in_plans()
        self._schemas = {
            name: canonical_schema(self._db.sql(plan.aggregate()).to_arrow_table().schema)
            for name, plan in self._plans.items()
        }
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
        """Take in raw records: RAW_SCHEMA's columns, any int64 columns to aggregate by, named as no field is, and for
        each dimension of the domain the int64 column `version_of(dimension)`, the version that holds for the record
        (all 0 if left out).
        """
        batch = self._joins.with_versions(batch)
        self._joins.load(batch)
        self._statements.give("batch", batch)
        self._db.execute(_SHARING)
        try:
            self._hold(self._statements.run(self._kept))
        finally:
            self._db.execute(NO_SHARING)

    def keyed(self, batch: pa.Table) -> pa.Table:
        """Raw records with what they are joined on, one column `key_of(dimension)` for each dimension."""
        self._statements.give("batch", self._joins.with_versions(batch))
        columns = ", ".join(f'{key_sql(self._domain, name)} AS "{key_of(name)}"' for name in self._domain.dimensions)
        raw = ", ".join(f'"{column}"' for column in [*RAW_SCHEMA.names, *map(version_of, self._domain.dimensions)])
        return self._statements.run(f"SELECT {raw}, {columns} FROM ({self._parse})")

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
        return self._statements.run(sql).cast(IDENTITIES)

    def quarantined(self) -> dict[int, int]:
        """How many of the records taken in are bad, by partition; those without any are left out."""
        told = self._parsed["reason"]
        bad = pc.and_(pc.is_valid(told), pc.invert(pc.is_in(told, _NOT_BAD)))
        counts = pc.value_counts(self._parsed["partition"].filter(bad))
        return {count["values"].as_py(): count["counts"].as_py() for count in counts}

    def mark(self, repeats: pa.Table) -> None:
        """Mark events taken in that repeat others (REPEATS): no view counts them, and conflicts go to quarantine."""
        if len(repeats):
            self._statements.give("repeats", repeats)
            marked = "repeats.repeats IS NOT NULL"
            sql = f"""SELECT parsed.* REPLACE (CASE WHEN {marked} THEN repeats.repeats ELSE reason END AS reason,
                    CASE WHEN {marked} THEN flaws | 1 ELSE flaws END AS flaws)
                FROM parsed LEFT JOIN repeats
                ON parsed."partition" = repeats."partition" AND parsed."offset" = repeats."offset\""""
            self._hold(self._statements.run(sql))

    def aggregate(self, by: Sequence[str] = (), names: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """The canonical states of what was taken in; the columns in `by` become leading keys."""
        wanted = self.names if names is None else names
        return {name: self._table(name, self._plans[name].aggregate(by), by) for name in wanted}

    def merge(self, name: str, tables: Sequence[pa.Table], by: Sequence[str] = ()) -> pa.Table:
        """States -> the canonical states of their union. No tables give no rows."""
        schema = self._with(by, name)
        states = pa.concat_tables([t.select(schema.names).cast(schema) for t in tables] or [schema.empty_table()])
        return self._table(name, self._plans[name].merge(by, self._give(states, name, *by)), by)

    def present(self, name: str, states: pa.Table) -> pa.Table:
        """States (of `stored(name)`) -> the values of every row; a view over no other keeps their order."""
        plan = self._plan(name)
        if name in self._over:
            below = self._domain.views[name].over
            assert below is not None
            self._statements.give("below", self.present(below, states))
            states = self._statements.run(plan.aggregate())
        return self._statements.run(plan.present(self._give(states, name)))

    def shown(self, name: str, values: pa.Table, as_of: datetime) -> pa.Table:
        """Values -> the rows that the view shows: having, retention (as of a time), order and limit applied."""
        plan = self._plan(name)
        self._statements.give(":presented", values)
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
        self._statements.give("below", self.present(view.over, self._schemas[self.stored(name)].empty_table()))
        self._over[name] = plan = compile_view(self._db, self._domain, view)
        self._check_reading(name, self._db.sql(plan.aggregate()).to_arrow_table())

    def _check_reading(self, name: str, states: pa.Table) -> None:
        self._db.register(":states", states)
        check_reading(self._db, self._domain.name, name, self._plan(name))

    def _with(self, by: Sequence[str], name: str) -> pa.Schema:
        return pa.schema([pa.field(column, pa.int64()) for column in by] + list(self._schemas[name]))

    def _hold(self, parsed: pa.Table) -> None:
        self._parsed = parsed
        self._statements.give("parsed", parsed)

    def _give(self, states: pa.Table, *of: str) -> str:
        """Make states a table; its name, one for each kind, so that none is planned anew for another's columns."""
        name = ":".join([STATES, *of])
        self._statements.give(name, unsliced(states))
        return name

    def _table(self, name: str, sql: str, by: Sequence[str]) -> pa.Table:
        return self._statements.run(sql).cast(self._with(by, name))


def _kept(domain: Domain, parsed: str) -> str:
    """Of parsed records, what is asked for later: the fields that views read, and all of a record that is bad.

    Where duplicates are looked for, any record may turn out to be one and bad.
    """
    read = read_columns(domain)
    unread = [f'"{name}"' for name in domain.fields if name not in read]
    rest = ", ".join(["headers", *unread])
    if domain.dedup:
        return f"SELECT * EXCLUDE ({rest}) FROM ({parsed})"
    bad = ", ".join(f"CASE WHEN reason IS NOT NULL THEN {name} END AS {name}" for name in ("key", "value"))
    return f"SELECT * EXCLUDE ({rest}) REPLACE ({bad}) FROM ({parsed})"
