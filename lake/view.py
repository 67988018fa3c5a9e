"""A view as declared: which events, grouped by what, measured how; and what is done with the values at read.

Invariant: a View that `check_view` has passed names only columns, functions and measures that exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from lake import expressions
from lake.expressions import nearest
from lake.fields import Name, Strict
from lake.measures import MEASURES


class MeasureUse(Strict):
    """One measure of a view: `{sum: amount}`, or with options `{quantiles: {of: amount, at: [0.5, 0.99]}}`."""

    kind: str
    of: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Short forms: `count`, `{count: expression}`, `{kind: expression}`, `{kind: {of: expression, ...}}`."""
        if data == "count":
            return {"kind": "count", "of": "*"}
        if isinstance(data, dict) and data.keys() >= {"kind", "of"}:
            return data
        if not isinstance(data, dict) or len(data) != 1:
            raise ValueError(f"expected one measure such as {{sum: amount}}, found {data}")
        [(kind, argument)] = data.items()
        if isinstance(argument, dict):
            if "of" not in argument:
                raise ValueError(f"'{kind}' needs 'of', the expression that is measured, found {argument}")
            return {"kind": kind, **{"of": argument["of"]}, "options": {k: v for k, v in argument.items() if k != "of"}}
        return {"kind": kind, "of": argument}

    @model_validator(mode="after")
    def _check(self) -> MeasureUse:
        if self.kind not in MEASURES:
            raise ValueError(f"'{self.kind}' is no measure; {nearest(self.kind, MEASURES)}")
        if self.of == "*" and self.kind != "count":
            raise ValueError(f"'{self.kind}' needs an expression, not '*', which only count takes")
        options = MEASURES[self.kind].options
        try:
            options.model_validate(self.options)
        except ValidationError as error:
            raise ValueError(f"'{self.kind}': {_option_sentence(error, options)}") from None
        return self

    @property
    def is_additive(self) -> bool:
        """Whether values of disjoint sets of events may be added up."""
        return MEASURES[self.kind].additive


class Retention(Strict):
    """Rows are shown while `key`, a time of the group-by, is at most `days` before the newest event's arrival."""

    key: Name
    days: int = Field(ge=1)


class View(Strict):
    """A named query over a domain's events, or over another view's rows (`over`)."""

    name: Name
    description: str = ""
    owner: str = ""
    units: dict[Name, str] = {}
    over: Name | None = None
    each: dict[Name, str] = Field({}, max_length=1)
    where: str | None = None
    group_by: dict[Name, str] = {}
    measures: dict[Name, MeasureUse]
    values: dict[Name, str] = {}
    having: str | None = None
    order_by: tuple[str, ...] = ()
    limit: int | None = Field(None, ge=1)
    per: tuple[Name, ...] = ()
    retention: Retention | None = None

    @property
    def event_expressions(self) -> dict[str, str]:
        """Place in the view -> each expression over an event (over a row of the other view)."""
        found = {f"each.{name}": e for name, e in self.each.items()}
        found |= {"where": self.where} if self.where else {}
        found |= {f"group_by.{name}": e for name, e in self.group_by.items()}
        return found | {f"measures.{name}.{m.kind}": m.of for name, m in self.measures.items() if m.of != "*"}

    @property
    def uses_event_time(self) -> bool:
        """Whether a measure compares where events stand, and when they happened."""
        return any(m.kind in ("first", "last") for m in self.measures.values())

    def value_columns(self) -> list[str]:
        """The columns of the presented view, in order: keys, measures' values, derived values."""
        measured = [column for name in self.measures for column in self.measure_columns(name)]
        return [*self.group_by, *measured, *self.values]

    def measure_columns(self, name: str) -> list[str]:
        """The value columns of one measure."""
        return [f"{name}_{suffix}" if suffix else name for suffix in _suffixes(self.measures[name])]


def check_view(view: View, columns: Collection[str]) -> None:
    """Raise ValueError with the place and the fix. `columns`: what an event, or a row of the other view, has."""
    for place, expression in view.event_expressions.items():
        known = columns if place.startswith("each.") else [*columns, *view.each]
        _check_expression(place, expression, known)
    if clash := next((name for name in view.each if name in columns), None):
        raise ValueError(f"each.{clash}: there is a column of that name already; choose another")
    if not view.measures:
        raise ValueError("measures: at least one is needed, such as {orders: count}")
    seen: set[str] = set()
    for name in view.value_columns():
        if name in seen:
            raise ValueError(f"'{name}' is two of a key, a measure and a value; rename one")
        seen.add(name)
    _check_reading(view)


def _check_reading(view: View) -> None:
    """What is done with the values at read."""
    known = [c for c in view.value_columns() if c not in view.values]
    for name, expression in view.values.items():
        _check_expression(f"values.{name}", expression, known)
        known.append(name)
    if view.having:
        _check_expression("having", view.having, known)
    for term in view.order_by:
        name, _, direction = term.partition(" ")
        if name not in known or direction not in ("", "asc", "desc"):
            raise ValueError(f"order_by: '{term}' is no column with 'asc' or 'desc' behind it; {nearest(name, known)}")
    for name in view.per:
        if name not in view.group_by:
            raise ValueError(f"per: '{name}' is no key of group_by; {nearest(name, view.group_by)}")
    if view.limit is not None and not view.order_by:
        raise ValueError("limit: needs order_by, or nobody could say which rows are the first")
    if view.per and view.limit is None:
        raise ValueError("per: needs limit, the number of rows for each of its values")
    if view.retention and view.retention.key not in view.group_by:
        raise ValueError(
            f"retention.key: '{view.retention.key}' is no key of group_by; {nearest(view.retention.key, view.group_by)}"
        )
    for name in view.units:
        if name not in known:
            raise ValueError(f"units: '{name}' is no column of the view; {nearest(name, known)}")


def _check_expression(place: str, expression: str, columns: Collection[str]) -> None:
    try:
        expressions.check(expression, columns)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _suffixes(use: MeasureUse) -> Iterator[str]:
    """The value columns' suffixes of a measure, whatever its argument's type will be."""
    measure = MEASURES[use.kind]
    yield from measure.suffixes(measure.options.model_validate(use.options))


def _option_sentence(error: ValidationError, options: type[BaseModel]) -> str:
    [first, *_] = error.errors()
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = [*options.model_fields, "of"]
        return f"unknown option '{name}'; {nearest(name, known)}"
    return f"option '{name}': {first['msg'].removeprefix('Value error, ')}, found {first['input']!r}"
