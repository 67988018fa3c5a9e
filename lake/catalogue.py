"""What there is to ask: every domain, field, dimension, view and column, with owner, unit, type and lineage.

Invariant: whatever a column is made of is found by following `made_from` down to an event's field, a dimension's
column or what the broker adds, and from there to the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from lake.domain import APPEND_TIME, Domain
from lake.errors import TidemarkError
from lake.expressions import columns_of, nearest
from lake.kernel import QUARANTINE, Kernel
from lake.lineage import Column, Lineage, rows_text
from lake.raw_schema import RAW_SCHEMA

RECORD_COLUMNS = {
    "partition": "of the topic",
    "offset": "within the partition; with topic and partition it names the record for ever",
    "append_time": "when the broker got it, UTC; fixes the layer that counts it",
    "key": "bytes, as received",
    "value": "bytes, as received",
    "headers": "as received; a marker has no value and says in a header what it marks",
    "reason": "why it is no event: one code",
}
"""What raw.<domain> and quarantine.<domain> hold of each record."""

OWN_COLUMNS = {
    "name": "what SQL and the domain file call it",
    "domain": "the domain file that declares it",
    "description": "in the words of the domain file",
    "owner": "who answers for it",
    "rows": "which rows there are, and which are shown",
    "reads": "what it comes from, one step below",
    "in": "the domain, dimension or view that has the column",
    "type": "of a view's column DuckDB's, else the domain file's",
    "kind": "key, measure or value of a view; field, dimension column, or given by the broker",
    "unit": "of the numbers",
    "expression": "what it is made by",
    "made_from": "the columns that the expression names, one step below",
    "origins": "the fields and dimension columns that it comes from in the end, and the topic",
}
"""What the catalogue's own tables hold."""


@dataclass(frozen=True)
class Entry:
    """A domain (its events), a dimension or a view; `reads` is what it comes from.

    Of a view, `rows` says which rows there are and are shown, and `rows_from` what that depends on; of a dimension,
    `rows_from` is what decides which of its rows an event is joined with.
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
            entry_below = self.entries[below]
            if entry_below.kind == "view":
                waiting += entry_below.column(name).made_from
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


def value_schema(kernel: Kernel, view: str) -> pa.Schema:
    """The columns of a view's values."""
    return kernel.present(view, kernel.schema(kernel.stored(view)).empty_table()).schema


def _entries(domain: Domain, schemas: Mapping[str, pa.Schema]) -> Iterator[Entry]:
    topics = (f"topic {domain.topic}", *(f"domain {source.domain}" for source in domain.sources))
    yield Entry(domain.name, "domain", domain.name, domain.description, domain.owner, topics, tuple(_fields(domain)))
    for name, dimension in domain.dimensions.items():
        columns = tuple(Column(c, kind, "dimension column") for c, kind in dimension.columns.items())
        reads = (f"versions of dimension {name}, joined on {dimension.on}",)
        yield Entry(
            name=f"{domain.name}.{name}",
            kind="dimension",
            domain=domain.name,
            description=dimension.description,
            owner=dimension.owner or domain.owner,
            reads=reads,
            columns=columns,
            rows_from=tuple(f"{domain.name}.{c}" for c in sorted(columns_of(dimension.on))),
        )
    for view in domain.views.values():
        lineage = Lineage(domain, view, schemas)
        yield Entry(
            name=view.name,
            kind="view",
            domain=domain.name,
            description=view.description,
            owner=view.owner or domain.owner,
            reads=(f"view {view.over}",) if view.over else (f"domain {domain.name}",),
            columns=tuple(lineage.columns()),
            rows=rows_text(view),
            rows_from=lineage.rows_from,
        )


def _fields(domain: Domain) -> Iterator[Column]:
    for name, f in domain.fields.items():
        kind = "required field" if f.required else "field"
        yield Column(name, f.type, kind, f.unit, _allowed(f.values, f.min, f.max), description=f.description)
    yield Column(APPEND_TIME, "timestamp", "given by the broker", description="when the log got the event, UTC")


def _allowed(values: tuple[str, ...] | None, low: float | None, high: float | None) -> str:
    if values is not None:
        return f"one of {', '.join(values)}"
    return " and ".join(f"{sign} {limit:g}" for sign, limit in ((">=", low), ("<=", high)) if limit is not None)
