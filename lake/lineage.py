"""Where a view's columns come from: each expression, and the columns below that it names.

Invariant: every name in `made_from` is a column of the view that this one is over, of the domain, of one of its
dimensions, or of the view itself, where a derived value is made of its measures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from lake import expressions
from lake.domain import Domain
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


class Lineage:
    """One view, and what each name in its expressions stands for."""

    def __init__(self, domain: Domain, view: View, schemas: Mapping[str, pa.Schema]) -> None:
        self._view = view
        self._own: _Names = {name: (f"{view.name}.{name}",) for name in view.value_columns()}
        self._types = column_types(schemas[view.name])
        if view.over:
            below = Lineage(domain, domain.views[view.over], schemas).columns()
            self._units = {column.name: column.unit for column in below}
        else:
            self._units = dict.fromkeys(domain.columns, "") | {name: f.unit for name, f in domain.fields.items()}
        self._below: _Names = {name: (f"{view.over or domain.name}.{name}",) for name in self._units}
        for name, expression in view.each.items():
            self._below[name] = self._named(expression)

    @property
    def rows_from(self) -> tuple[str, ...]:
        """What decides which rows there are: the columns of `where` and `having`."""
        having = self._named(self._view.having, self._own) if self._view.having else ()
        return (*(self._named(self._view.where) if self._view.where else ()), *having)

    def columns(self) -> Iterator[Column]:
        """The view's columns, in order."""
        view = self._view
        for name, expression in view.group_by.items():
            yield self._column(name, "key", expression, self._named(expression), expression)
        for measure, use in view.measures.items():
            made_from = () if use.of == "*" else self._named(use.of)
            same = use.of if use.kind in _OF_THE_SAME_UNIT else ""
            for name in view.measure_columns(measure):
                yield self._column(name, "measure", measure_text(use), made_from, same)
        for name, expression in view.values.items():
            yield self._column(name, "value", expression, self._named(expression, self._own))

    def _column(self, name: str, kind: str, expression: str, made_from: tuple[str, ...], same: str = "") -> Column:
        """`same`: the column below, if it is one, whose unit this one has unless the view says another."""
        unit = self._view.units.get(name) or self._units.get(same, "")
        return Column(name, self._types[name], kind, unit, expression, made_from)

    def _named(self, expression: str, known: _Names | None = None) -> tuple[str, ...]:
        stands_for = self._below if known is None else known
        names = sorted(expressions.columns_of(expression))
        return tuple(dict.fromkeys(qualified for name in names for qualified in stands_for[name]))


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Each column's type as DuckDB calls it."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("described", schema.empty_table())
        described = db.sql("FROM described")
        return dict(zip(described.columns, map(str, described.types), strict=True))


def measure_text(use: MeasureUse) -> str:
    """`sum(amount)`, `quantiles(amount, at=[0.5])`."""
    options = [f"{name}={value}" for name, value in use.options.items()]
    return f"{use.kind}({', '.join([use.of, *options])})"


def rows_text(view: View) -> str:
    """Which rows a view has and shows, in one line; empty if all."""
    parts = [f"for each {name} in {expression}" for name, expression in view.each.items()]
    parts += [f"where {view.where}"] if view.where else []
    parts += [f"having {view.having}"] if view.having else []
    parts += [f"order by {', '.join(view.order_by)}"] if view.order_by else []
    parts += [f"limit {view.limit}" + (f" per {', '.join(view.per)}" if view.per else "")] if view.limit else []
    parts += [f"{view.retention.key} within {view.retention.days} days"] if view.retention else []
    return "; ".join(parts)
