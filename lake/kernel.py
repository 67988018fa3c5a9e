"""The one kernel that both layers carry: parse, aggregate, merge, present, as DuckDB SQL over Arrow tables.

Invariant: `merge` of `run` over any split of a batch, in any order, equals `run` over the whole, as canonical states:
rows sorted by key, typed exactly as `schema` says. Spark, Beam and verify only bring tables here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from lake.domain import Domain, View
from lake.errors import BadDomain
from lake.measures import MACROS, MEASURES
from lake.parse import MARKER, parse_sql
from lake.raw_schema import RAW_SCHEMA

KERNEL_VERSION = 1
QUARANTINE = "_quarantine"
COUNTS = "_counts"
_KEY_TYPES = ("VARCHAR", "BIGINT", "BOOLEAN", "TIMESTAMP", "DATE", "DECIMAL")


@dataclass(frozen=True)
class _Plan:
    """A view as SQL: which parsed rows, keyed by what, and for each state its three fragments."""

    rows: str
    keys: dict[str, str]
    arguments: dict[str, str]
    states: dict[str, str]
    merges: dict[str, str]
    values: dict[str, str]

    def aggregate(self, by: Sequence[str]) -> str:
        rows = _select([*_quoted(by), *_as({**self.keys, **self.arguments})], f"parsed WHERE {self.rows}")
        return _grouped([*by, *self.keys], self.states, f"({rows})")

    def merge(self, by: Sequence[str]) -> str:
        return _grouped([*by, *self.keys], self.merges, "states")

    def present(self) -> str:
        return _select([*_quoted(self.keys), *_as(self.values)], "states")


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _as(columns: dict[str, str]) -> list[str]:
    return [f'{sql} AS "{name}"' for name, sql in columns.items()]


def _select(columns: Sequence[str], source: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {source}"


def _grouped(keys: Sequence[str], aggregates: dict[str, str], source: str) -> str:
    columns = _quoted(keys)
    # Without keys SQL would invent a row for no events at all.
    end = "HAVING count(*) > 0"
    if columns:
        end = f"GROUP BY {', '.join(columns)} ORDER BY {', '.join(f'{c} NULLS FIRST' for c in columns)}"
    return f"{_select([*columns, *_as(aggregates)], source)} {end}"


class Kernel:
    """The compiled views of one domain on one DuckDB connection. One a thread; not to be shared.

    Besides the declared views it keeps two of its own: `_quarantine`, a row for each bad record
    (partition, offset | append_time, key, value, reason), and `_counts`
    (partition | events, good, quarantined, markers), where events = good + quarantined + markers.
    """

    def __init__(self, domain: Domain, memory_limit: str = "1GB") -> None:
        self._domain = domain
        self._db = duckdb.connect(config={"threads": 1, "memory_limit": memory_limit})
        self._db.execute("SET TimeZone = 'UTC'")
        self._db.execute(MACROS)
        self._db.register("batch", RAW_SCHEMA.empty_table())
        self._parse = parse_sql(domain, "batch")
        self._db.execute(f"CREATE TEMP TABLE parsed AS {self._parse}")
        self._plans = {name: self._plan(view) for name, view in domain.views.items()}
        self._plans |= _built_in_plans()
        self._schemas = {
            name: _canonical_schema(self._db.sql(plan.aggregate(())).to_arrow_table().schema)
            for name, plan in self._plans.items()
        }

    @property
    def names(self) -> list[str]:
        """The declared views, then the built-in ones."""
        return list(self._plans)

    def schema(self, name: str) -> pa.Schema:
        """Keys, then states. Times are timestamp[us, UTC]."""
        return self._schemas[name]

    def keys(self, name: str) -> list[str]:
        return list(self._plans[name].keys)

    def run(self, batch: pa.Table, by: Sequence[str] = (), names: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Raw records -> the canonical states of the views in `names` (None: all).

        `batch` has RAW_SCHEMA's columns and the int64 columns named in `by`, which become leading keys of each result.
        """
        self._db.register("batch", batch)
        self._db.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS {self._parse}")
        wanted = self.names if names is None else names
        return {name: self._table(name, self._plans[name].aggregate(by), by) for name in wanted}

    def merge(self, name: str, tables: Sequence[pa.Table], by: Sequence[str] = ()) -> pa.Table:
        """States -> the canonical states of their union. No tables give no rows."""
        schema = self._with(by, name)
        states = pa.concat_tables([t.select(schema.names).cast(schema) for t in tables] or [schema.empty_table()])
        self._db.register("states", states)
        return self._table(name, self._plans[name].merge(by), by)

    def present(self, name: str, states: pa.Table) -> pa.Table:
        """States -> values, row by row, in the same order."""
        self._db.register("states", states)
        return self._db.sql(self._plans[name].present()).to_arrow_table()

    def sql(self, name: str) -> dict[str, str]:
        """The SQL of each step, for people and for the definition hash."""
        plan = self._plans[name]
        return {
            "parse": self._parse,
            "aggregate": plan.aggregate(()),
            "merge": plan.merge(()),
            "present": plan.present(),
        }

    def definition_hash(self, name: str) -> str:
        """16 hex digits over all that decides the states: SQL, macros, kernel's and DuckDB's versions."""
        steps = {step: text for step, text in self.sql(name).items() if step != "present"}
        text = json.dumps([steps, MACROS, KERNEL_VERSION, duckdb.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def generation(self, segment_seconds: int) -> str:
        """Names the speed states that fit together: same definitions, same segments."""
        hashes = sorted(self.definition_hash(name) for name in self._domain.views)
        text = json.dumps([hashes, segment_seconds])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _plan(self, view: View) -> _Plan:
        arguments, states, merges, values = {}, {}, {}, {}
        # TRY: an expression that fails on some event is NULL there; it never stops a layer.
        keys = {key: self._key(view, key, e) for key, e in view.group_by.items()}
        for name, declared in view.measures.items():
            [(kind, argument)] = declared.items()
            measure, column = MEASURES[kind], f"{name}_of"
            arguments[column] = "1" if argument == "*" else f"TRY({argument})"
            try:
                measure.check(self._type_of(arguments[column]))
            except ValueError as error:
                raise BadDomain(f"{self._domain.name}.yaml: views.{view.name}.measures.{name}: {error}") from None
            states[name] = measure.state.format(x=f'"{column}"')
            merges[name] = measure.merge.format(s=f'"{name}"')
            values[name] = measure.value.format(s=f'"{name}"')
        rows = "reason IS NULL" + (f" AND TRY({view.where})" if view.where else "")
        return _Plan(rows, keys, arguments, states, merges, values)

    def _key(self, view: View, key: str, expression: str) -> str:
        found = self._type_of(f"TRY({expression})")
        if found.endswith("INT") or found == "INTEGER":
            return f"TRY(({expression})::BIGINT)"
        if not found.startswith(_KEY_TYPES) or found.endswith("[]"):
            raise BadDomain(
                f"{self._domain.name}.yaml: views.{view.name}.group_by.{key}: '{expression}' is a {found}; "
                "a key is a string, integer, decimal, boolean, time or date"
            )
        return f"TRY({expression})"

    def _type_of(self, expression: str) -> str:
        try:
            return str(self._db.sql(f"SELECT {expression} AS x FROM parsed").types[0])
        except duckdb.Error as error:
            raise BadDomain(f"{self._domain.name}.yaml: {expression}: {error}") from None

    def _with(self, by: Sequence[str], name: str) -> pa.Schema:
        return pa.schema([pa.field(column, pa.int64()) for column in by] + list(self._schemas[name]))

    def _table(self, name: str, sql: str, by: Sequence[str]) -> pa.Table:
        return self._db.sql(sql).to_arrow_table().cast(self._with(by, name))


def _built_in_plans() -> dict[str, _Plan]:
    copied = ("append_time", "key", "value", "reason")
    first = {name: f"min({name})" for name in copied}
    counted = {
        "events": "count(*)",
        "good": "count(*) FILTER (WHERE reason_of IS NULL)",
        "quarantined": f"count(*) FILTER (WHERE reason_of <> '{MARKER}')",
        "markers": f"count(*) FILTER (WHERE reason_of = '{MARKER}')",
    }
    quarantine = _Plan(
        rows=f"reason <> '{MARKER}'",
        keys={"partition": '"partition"', "offset": '"offset"'},
        arguments={f"{name}_of": name for name in copied},
        states={name: f"min({name}_of)" for name in copied},
        merges=first,
        values={name: name for name in copied},
    )
    counts = _Plan(
        rows="true",
        keys={"partition": '"partition"'},
        arguments={"reason_of": "reason"},
        states=counted,
        merges={name: f"CAST(sum({name}) AS BIGINT)" for name in counted},
        values={name: name for name in counted},
    )
    return {QUARANTINE: quarantine, COUNTS: counts}


def _canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The types that DuckDB, Arrow, Spark and Delta all hold: times carry UTC, list items have one name."""

    def canonical(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", "UTC")
        if pa.types.is_list(kind):
            return pa.list_(pa.field("element", kind.value_type))
        return kind

    return pa.schema([pa.field(f.name, canonical(f.type)) for f in schema])


def encode(states: pa.Table) -> bytes:
    """States as a compressed Arrow IPC stream. Transport only: equal states may have unequal bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, states.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(states)
    return sink.getvalue().to_pybytes()


def decode(data: bytes) -> pa.Table:
    """The inverse of `encode`."""
    return pa.ipc.open_stream(data).read_all()
