"""A view as declared: which events, grouped by what, measured how; and what is done with the values at read.

Invariant: a View in which `view_mistakes` finds nothing names only columns, functions and measures that exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from re import fullmatch
from typing import Any

from pydantic import Field, ValidationError, model_validator

from lake import expressions
from lake.domain_errors import Mistake, sentence, shown
from lake.expressions import nearest
from lake.fields import MART_COLUMNS, RESERVED, Name, Strict
from lake.measures import MEASURES
from lake.yaml_file import Path


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
        if isinstance(data, str) and (call := fullmatch(r"(\w+)\s*\((.*)\)", data)):
            raise ValueError(f"'{data}' is no measure; write {{{call[1]}: {call[2] or 'expression'}}}")
        if isinstance(data, str):
            _check_kind(data)
            raise ValueError(f"'{data}' needs an expression; write {{{data}: expression}}")
        if not isinstance(data, dict) or len(data) != 1:
            raise ValueError(f"expected one measure such as {{sum: amount}}, found {shown(data)}{_inside(data)}")
        [(kind, argument)] = data.items()
        _check_kind(kind)
        if not isinstance(argument, dict):
            argument = {"of": argument}
        if not isinstance(argument.get("of"), str):
            raise ValueError(f"'{kind}' needs 'of', the expression that is measured, found {shown(argument.get('of'))}")
        return {"kind": kind, "of": argument["of"], "options": {k: v for k, v in argument.items() if k != "of"}}

    @model_validator(mode="after")
    def _check(self) -> MeasureUse:
        _check_kind(self.kind)
        if self.of == "*" and self.kind != "count":
            raise ValueError(f"'{self.kind}' needs an expression, not '*', which only count takes")
        options = MEASURES[self.kind].options
        try:
            options.model_validate(self.options)
        except ValidationError as error:
            raise ValueError(f"'{self.kind}': {sentence(error.errors()[0], options, 'option')}") from None
        return self

    @property
    def is_additive(self) -> bool:
        """Whether values of disjoint sets of events may be added up."""
        return MEASURES[self.kind].additive


class Retention(Strict):
    """Rows are shown while `key`, a time of the group-by, is at most `days` before the newest event's arrival."""

    key: Name
    days: int = Field(ge=1, le=1_000_000)


class View(Strict):
    """A named query over a domain's events, or over another view's rows (`over`)."""

    name: str = ""
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
    def event_expressions(self) -> dict[Path, str]:
        """Place in the view -> each expression over an event (over a row of the other view)."""
        found: dict[Path, str] = {("each", name): e for name, e in self.each.items()}
        found |= {("where",): self.where} if self.where is not None else {}
        found |= {("group_by", name): e for name, e in self.group_by.items()}
        return found | {("measures", name, m.kind): m.of for name, m in self.measures.items() if m.of != "*"}

    @property
    def uses_event_time(self) -> bool:
        """Whether a measure compares where events stand, and when they happened."""
        return any(m.kind in ("first", "last") for m in self.measures.values())

    def value_columns(self) -> list[str]:
        """The columns of the presented view, in order: keys, measures' values, derived values."""
        measured = [column for name in self.measures for column in self.measure_columns(name)]
        return [*self.group_by, *measured, *self.values]

    def measure_columns(self, name: str) -> list[str]:
        """The value columns of one measure, whatever its argument's type will be."""
        measure = MEASURES[self.measures[name].kind]
        suffixes = measure.suffixes(measure.options.model_validate(self.measures[name].options))
        return [f"{name}_{suffix}" if suffix else name for suffix in suffixes]


def view_mistakes(view: View, columns: Collection[str], kind: str) -> Iterator[Mistake]:
    """What is wrong in a view. `columns`: what an event has, or a row of the other view; `kind`: what they are."""
    for path, expression in view.event_expressions.items():
        known = columns if path[0] == "each" else [*columns, *view.each]
        yield from expression_mistakes(path, expression, known, kind)
    for name in view.each:
        if name in columns:
            yield Mistake(("each", name), f"there is a {kind} called '{name}' already; choose another name")
        elif name in RESERVED:
            said = f"'{name}' is a column that every record has ({', '.join(RESERVED)}); choose another name"
            yield Mistake(("each", name), said)
    for part in ("group_by", "measures"):
        for name in getattr(view, part):
            if name in MART_COLUMNS:
                said = f"'{name}' is a column that every mart has ({', '.join(MART_COLUMNS)}); rename it"
                yield Mistake((part, name), said)
    if not view.measures:
        yield Mistake(("measures",), "expected at least one measure such as orders: count, found none")
    yield from _clashes(view)
    yield from _reading_mistakes(view)


def _clashes(view: View) -> Iterator[Mistake]:
    """Columns of one name."""
    seen: set[str] = set()
    for part, name, columns in [
        *(("group_by", name, [name]) for name in view.group_by),
        *(("measures", name, view.measure_columns(name)) for name in view.measures),
        *(("values", name, [name]) for name in view.values),
    ]:
        for column in columns:
            if column in seen:
                yield Mistake((part, name), f"column '{column}' is two of a key, a measure and a value; rename one")
            seen.add(column)


def _reading_mistakes(view: View) -> Iterator[Mistake]:
    """What is done with the values at read."""
    kind = f"column of view '{view.name}'"
    known = [c for c in view.value_columns() if c not in view.values]
    for name, expression in view.values.items():
        yield from expression_mistakes(("values", name), expression, known, kind)
        known.append(name)
    if view.having is not None:
        yield from expression_mistakes(("having",), view.having, known, kind)
    for index, term in enumerate(view.order_by):
        name, _, direction = term.partition(" ")
        if name not in known:
            yield Mistake(("order_by", index), f"'{name}' is no {kind}; {nearest(name, known)}", _cause(kind, name))
        elif direction not in ("", "asc", "desc"):
            yield Mistake(("order_by", index), f"'{direction}' is no order; expected '{name} asc' or '{name} desc'")
    if view.limit is not None and not view.order_by:
        yield Mistake(("limit",), "needs order_by, or nobody could say which rows are the first")
    if view.per and view.limit is None:
        yield Mistake(("per",), "needs limit, the number of rows for each of its values")
    keys: list[tuple[Path, str]] = [(("per", index), name) for index, name in enumerate(view.per)]
    keys += [(("retention", "key"), view.retention.key)] if view.retention else []
    for path, name in keys:
        if name not in view.group_by:
            said = f"'{name}' is no key of group_by; {nearest(name, view.group_by)}"
            yield Mistake(path, said, _cause(f"key of view '{view.name}'", name))
    for name in view.units:
        if name not in known:
            yield Mistake(("units", name), f"'{name}' is no {kind}; {nearest(name, known)}", _cause(kind, name))


def expression_mistakes(
    path: Path, expression: str, columns: Collection[str], kind: str = "field"
) -> Iterator[Mistake]:
    """What is wrong in an expression over columns of a kind, such as fields."""
    try:
        expressions.check(expression, columns, kind)
    except expressions.UnknownFunction as error:
        fix = f"; '{error.name}' is a measure: declare it under measures and use its name" * (error.name in MEASURES)
        yield Mistake(path, str(error).partition("; ")[0] + fix if fix else str(error))
    except expressions.UnknownColumn as error:
        yield Mistake(path, str(error), _cause(kind, error.name))
    except ValueError as error:
        yield Mistake(path, str(error))


def _cause(kind: str, name: str) -> str:
    """What is told once, wherever it is named."""
    return f"no {kind} '{name}'"


def _inside(data: object) -> str:
    """What to write where options stand beside the measure instead of in it, as in {top: word, k: 3}."""
    kinds = [key for key in data if key in MEASURES] if isinstance(data, dict) else []
    if not isinstance(data, dict) or len(kinds) != 1 or isinstance(data[kinds[0]], dict | list):
        return ""
    inner = {"of": data[kinds[0]], **{key: value for key, value in data.items() if key != kinds[0]}}
    options = ", ".join(f"{key}: {value}" for key, value in inner.items())
    return f"; options stand with the expression: write {{{kinds[0]}: {{{options}}}}}"


def _check_kind(kind: object) -> None:
    if kind not in MEASURES:
        raise ValueError(f"{shown(kind)} is no measure; {nearest(str(kind), MEASURES)}")
