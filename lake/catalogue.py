"""What there is to ask: every domain, field, dimension, view and column, with owner, unit, type and lineage.

Invariant: whatever a column is made of is found by following `made_from` down to an event's field, a dimension's
column or what the broker adds, and from there to the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import duckdb
import pyarrow as pa

from lake import expressions
from lake.domain import APPEND_TIME, Domain
from lake.errors import TidemarkError
from lake.expressions import nearest
from lake.kernel import QUARANTINE, Kernel
from lake.raw_schema import RAW_SCHEMA
from lake.view import MeasureUse, View

_OF_THE_SAME_UNIT = ("sum", "min", "max", "avg", "stddev", "first", "last", "quantiles")

_Names = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Column:
    """One column; `expression` is what it is, over `made_from`: qualified names, one step below."""

    name: str
    type: str
    kind: str
    unit: str = ""
    expression: str = ""
    made_from: tuple[str, ...] = ()
    description: str = ""

    @property
    def comment(self) -> str:
        """All of it but name and type, in one line."""
        parts = [self.description, f"in {self.unit}" if self.unit else "", f"{self.kind} {self.expression}".strip()]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True)
class Entry:
    """A domain (its events), a dimension or a view; `reads` is what it comes from.

    Of a view, `rows` says which rows there are and are shown, and `rows_from` what that depends on.
    """

    name: str
    kind: str
    domain: str
    description: str
    owner: str
    reads: tuple[str, ...]
    columns: tuple[Column, ...] = field(repr=False)
    rows: str = ""
    rows_from: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """Raises TidemarkError with the nearest name."""
        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise TidemarkError(f"{self.kind} '{self.name}' has no column '{name}'; {nearest(name, names)}")


class Catalogue:
    """The entries of all domains, by name: domains, their dimensions as `domain.dimension`, their views."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        self.entries: dict[str, Entry] = {}
        self.schemas: dict[str, pa.Schema] = {}
        """The columns of each view's values, of raw.<domain> and of quarantine.<domain>."""
        for domain in domains:
            kernel = Kernel(domain)
            self.schemas |= {view: value_schema(kernel, view) for view in domain.views}
            self.schemas |= {f"raw.{domain.name}": RAW_SCHEMA, f"quarantine.{domain.name}": kernel.schema(QUARANTINE)}
            self.entries |= {entry.name: entry for entry in _entries(domain, self.schemas)}

    def entry(self, name: str) -> Entry:
        """Raises TidemarkError with the nearest name."""
        if name not in self.entries:
            raise TidemarkError(f"nothing in the catalogue is called '{name}'; {nearest(name, self.entries)}")
        return self.entries[name]

    def origins(self, entry: Entry, column: Column) -> list[str]:
        """What a column comes from in the end: fields and dimensions' columns, then topics."""
        found: dict[str, None] = {}
        waiting = list(column.made_from)
        while waiting:
            below, _, name = waiting.pop(0).rpartition(".")
            lower = self.entries[below].column(name)
            if lower.made_from:
                waiting += lower.made_from
            else:
                found[f"{below}.{name}"] = None
        domain = self.entries[entry.domain]
        return [*found, *domain.reads]

    def users(self, qualified: str) -> list[str]:
        """What a change of this column would touch: columns made from it in the end, and views it chooses rows for."""
        found: dict[str, None] = {}
        waiting = [qualified]
        while waiting:
            sought = waiting.pop(0)
            for entry in self.entries.values():
                for column in entry.columns:
                    name = f"{entry.name}.{column.name}"
                    if sought in column.made_from and name not in found:
                        found[name] = None
                        waiting.append(name)
                if sought in entry.rows_from:
                    found[f"rows of {entry.name}"] = None
        return list(found)

    def tables(self) -> dict[str, pa.Table]:
        """The catalogue as tables: domains, dimensions, views and columns."""
        kinds = {"domains": "domain", "dimensions": "dimension", "views": "view"}
        found = {name: self._entries_table(kind) for name, kind in kinds.items()}
        columns = [
            {"in": e.name, **asdict(c), "origins": self.origins(e, c)} for e in self.entries.values() for c in e.columns
        ]
        texts = [(name, pa.string()) for name in ("in", "name", "type", "kind", "unit", "expression", "description")]
        lists = [(name, pa.list_(pa.string())) for name in ("made_from", "origins")]
        return {**found, "columns": pa.Table.from_pylist(columns, pa.schema([*texts, *lists]))}

    def _entries_table(self, kind: str) -> pa.Table:
        schema = pa.schema(
            [(name, pa.string()) for name in ("name", "domain", "description", "owner", "rows")]
            + [("reads", pa.list_(pa.string()))]
        )
        rows = [{name: getattr(e, name) for name in schema.names} for e in self.entries.values() if e.kind == kind]
        return pa.Table.from_pylist(rows, schema)


def owner(domains: Mapping[str, Domain], view: str) -> Domain:
    """The domain that a view is of. Raises TidemarkError with the nearest name."""
    for domain in domains.values():
        if view in domain.views:
            return domain
    known = [name for domain in domains.values() for name in domain.views]
    raise TidemarkError(f"no domain has a view '{view}'; {nearest(view, known)}")


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Each column's type as DuckDB calls it."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("described", schema.empty_table())
        described = db.sql("FROM described")
        return dict(zip(described.columns, map(str, described.types), strict=True))


def value_schema(kernel: Kernel, view: str) -> pa.Schema:
    """The columns of a view's values."""
    return kernel.present(view, kernel.schema(kernel.stored(view)).empty_table()).schema


def measure_text(use: MeasureUse) -> str:
    """`sum(amount)`, `quantiles(amount, at=[0.5])`."""
    options = [f"{name}={value}" for name, value in use.options.items()]
    return f"{use.kind}({', '.join([use.of, *options])})"


def _entries(domain: Domain, schemas: Mapping[str, pa.Schema]) -> Iterator[Entry]:
    topics = (f"topic {domain.topic}", *(f"domain {source.domain}" for source in domain.sources))
    yield Entry(domain.name, "domain", domain.name, domain.description, domain.owner, topics, tuple(_fields(domain)))
    for name, dimension in domain.dimensions.items():
        columns = tuple(Column(c, kind, "dimension column") for c, kind in dimension.columns.items())
        reads = (f"versions of dimension {name}, joined on {dimension.on}",)
        owner = dimension.owner or domain.owner
        yield Entry(f"{domain.name}.{name}", "dimension", domain.name, dimension.description, owner, reads, columns)
    for view in domain.views.values():
        yield _Lineage(domain, view, schemas).entry()


def _fields(domain: Domain) -> Iterator[Column]:
    for name, f in domain.fields.items():
        kind = "required field" if f.required else "field"
        yield Column(name, f.type, kind, f.unit, _allowed(f.values, f.min, f.max), description=f.description)
    yield Column(APPEND_TIME, "timestamp", "given by the broker", description="when the log got the event, UTC")


def _allowed(values: tuple[str, ...] | None, low: float | None, high: float | None) -> str:
    if values is not None:
        return f"one of {', '.join(values)}"
    return " and ".join(f"{sign} {limit:g}" for sign, limit in ((">=", low), ("<=", high)) if limit is not None)


class _Lineage:
    """One view, and what each name in its expressions stands for."""

    def __init__(self, domain: Domain, view: View, schemas: Mapping[str, pa.Schema]) -> None:
        self._domain, self._view = domain, view
        self._types = column_types(schemas[view.name])
        if view.over:
            below = _Lineage(domain, domain.views[view.over], schemas).entry().columns
            self._units = {column.name: column.unit for column in below}
        else:
            self._units = dict.fromkeys(domain.columns, "") | {name: f.unit for name, f in domain.fields.items()}
        self._below: _Names = {name: (f"{view.over or domain.name}.{name}",) for name in self._units}
        for name, expression in view.each.items():
            self._below[name] = self._named(expression)

    def entry(self) -> Entry:
        view, domain = self._view, self._domain
        reads = (f"view {view.over}",) if view.over else (f"domain {domain.name}",)
        own: _Names = {name: (f"{view.name}.{name}",) for name in view.value_columns()}
        having = self._named(view.having, own) if view.having else ()
        rows_from = (*(self._named(view.where) if view.where else ()), *having)
        return Entry(
            view.name, "view", domain.name, view.description, view.owner or domain.owner, reads,
            tuple(self._columns(own)), rows_text(view), rows_from,
        )  # fmt: skip

    def _columns(self, own: _Names) -> Iterator[Column]:
        view = self._view
        for name, expression in view.group_by.items():
            yield self._column(name, "key", expression, self._named(expression), expression)
        for measure, use in view.measures.items():
            made_from = () if use.of == "*" else self._named(use.of)
            same = use.of if use.kind in _OF_THE_SAME_UNIT else ""
            for name in view.measure_columns(measure):
                yield self._column(name, "measure", measure_text(use), made_from, same)
        for name, expression in view.values.items():
            yield self._column(name, "value", expression, self._named(expression, own))

    def _column(self, name: str, kind: str, expression: str, made_from: tuple[str, ...], same: str = "") -> Column:
        """`same`: the column below, if it is one, whose unit this one has unless the view says another."""
        unit = self._view.units.get(name) or self._units.get(same, "")
        return Column(name, self._types[name], kind, unit, expression, made_from)

    def _named(self, expression: str, known: _Names | None = None) -> tuple[str, ...]:
        stands_for = self._below if known is None else known
        names = sorted(expressions.columns_of(expression))
        return tuple(dict.fromkeys(qualified for name in names for qualified in stands_for[name]))


def rows_text(view: View) -> str:
    """Which rows a view has and shows, in one line; empty if all."""
    parts = [f"for each {name} in {expression}" for name, expression in view.each.items()]
    parts += [f"where {view.where}"] if view.where else []
    parts += [f"having {view.having}"] if view.having else []
    parts += [f"order by {', '.join(view.order_by)}"] if view.order_by else []
    parts += [f"limit {view.limit}" + (f" per {', '.join(view.per)}" if view.per else "")] if view.limit else []
    parts += [f"{view.retention.key} within {view.retention.days} days"] if view.retention else []
    return "; ".join(parts)
