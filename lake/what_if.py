"""What if a view were defined otherwise, or another version of a dimension had held: beside what is served, row by row.

Invariant: both sides are of exactly the same events, those below the production answer's head; the alternative comes
from raw with the plain kernel, and nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lake.compile import used_dimensions
from lake.cuts import Cut
from lake.dimensions import Dimensions
from lake.domain import Domain, parse_domain, read_domain
from lake.errors import BadDomain, RawDamaged, TidemarkError
from lake.expressions import nearest
from lake.kernel import Kernel
from lake.marks import marks_of
from lake.raw import Raw
from lake.recompute import Recompute, records
from lake.serving import Answer, Serving
from lake.settings import Settings
from lake.timeline import Timeline, Versions
from lake.yaml_file import BadYaml, read_yaml

BOTH, PRODUCTION, ALTERNATIVE = "both", "production", "alternative"


@dataclass(frozen=True)
class Pair:
    """One value on both sides; the difference is alternative minus production, of numbers that both have."""

    production: Any
    alternative: Any
    difference: Any


@dataclass(frozen=True)
class Row:
    """One row of either side. It differs if only one side has it, or a column that both have is not the same."""

    keys: dict[str, Any]
    side: str
    differs: bool
    values: dict[str, Pair]


@dataclass(frozen=True)
class Comparison:
    """A view as it is served and as it would be, as of one frontier and head."""

    view: str
    frontier: datetime
    head: Cut
    production_hash: str
    alternative_hash: str
    rows: list[Row] = field(repr=False)

    @property
    def differing(self) -> list[Row]:
        return [row for row in self.rows if row.differs]


def what_if(
    settings: Settings,
    serving: Serving,
    view: str,
    alternative: Domain | None = None,
    versions: Mapping[str, int] | None = None,
) -> Comparison:
    """The view as `serving` answers it, beside what the alternative domain and dimension versions would make of it.

    `versions`: for a dimension the version that is to hold for all events, whatever was announced when.
    Raises TidemarkError where the two cannot be compared, MissingCoverage, NotSealed or RawDamaged as verify does.
    """
    other = alternative or serving.domain
    _check(serving.domain, other, view)
    dimensions = Dimensions(settings)
    for name, version in (versions or {}).items():
        _check_dimension(other, view, name)
        dimensions.table(name, version)
    answer = serving.answer(view)
    kernel = Kernel(other, dimensions.table)
    states = _from_raw(settings, other, kernel, kernel.stored(view), answer, versions or {})
    values = kernel.shown(view, kernel.present(view, states), answer.as_of)
    return Comparison(
        view=view,
        frontier=answer.frontier,
        head=answer.head,
        production_hash=serving.kernel.definition_hash(serving.kernel.stored(view)),
        alternative_hash=kernel.definition_hash(kernel.stored(view)),
        rows=compare(list(other.views[view].group_by), serving.values(answer), values),
    )


def read_alternative(production: Domain, path: Path, view: str) -> Domain:
    """The domain that a file proposes: a whole domain file, or `views:` alone, which replace those of their names.

    Raises BadDomain with the file, the line and the fix.
    """
    if not path.is_file():
        raise BadDomain(f"{path} does not exist; give a domain file, or one with `views:` alone")
    text = path.read_text(errors="replace")
    try:
        file = read_yaml(text)
    except BadYaml as error:
        raise BadDomain(f"{path}:{error.line}: {error}") from None
    if isinstance(file.data, dict) and "domain" in file.data:
        return parse_domain(text, str(path), production.name)
    if not isinstance(file.data, dict) or set(file.data) != {"views"} or not isinstance(file.data["views"], dict):
        raise BadDomain(
            f"{path}: expected a whole domain file, which has `domain: {production.name}`, or `views:` alone, "
            f"found {', '.join(map(str, file.data)) if isinstance(file.data, dict) else 'no mapping'}"
        )
    whole = production.model_dump(mode="json", exclude_defaults=True)
    domain = read_domain({**whole, "views": {**whole["views"], **file.data["views"]}}, str(path), file=file)
    if view in domain.views and not file.data["views"].keys() & set(_chain(domain, view)):
        defined = ", ".join(file.data["views"])
        raise BadDomain(f"{path}: defines {defined}, and '{view}' depends on none of that; define '{view}' there")
    return domain


def parse_version(text: str) -> tuple[str, int]:
    """`users@7` -> the dimension and the version. Raises TidemarkError."""
    name, _, number = text.partition("@")
    if not name or not number.isdigit() or int(number) < 1:
        raise TidemarkError(f"'{text}' is no version of a dimension; write it like users@7")
    return name, int(number)


def compare(keys: Sequence[str], production: pa.Table, alternative: pa.Table) -> list[Row]:
    """The rows of both, side by side, by their keys; in the order of production, then what only the other has."""
    columns = [name for name in dict.fromkeys(production.column_names + alternative.column_names) if name not in keys]
    common = [name for name in columns if name in production.column_names and name in alternative.column_names]
    mine, theirs = _by_keys(keys, production), _by_keys(keys, alternative)
    rows = []
    for key in dict.fromkeys([*mine, *theirs]):
        one, other = mine.get(key), theirs.get(key)
        side = BOTH if one and other else PRODUCTION if one else ALTERNATIVE
        differs = side != BOTH or any(one[name] != other[name] for name in common if one and other)
        values = {name: _pair((one or {}).get(name), (other or {}).get(name)) for name in columns}
        rows.append(Row(dict(zip(keys, key, strict=True)), side, differs, values))
    return rows


def _by_keys(keys: Sequence[str], rows: pa.Table) -> dict[tuple, dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows.to_pylist()}


def _pair(one: Any, other: Any) -> Pair:
    difference = None
    if all(isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in (one, other)):
        exact = not isinstance(one, float) and not isinstance(other, float)
        difference = other - one if exact else float(other) - float(one)
    return Pair(one, other, difference)


def _check(production: Domain, other: Domain, view: str) -> None:
    """Raise TidemarkError unless the view is on both sides, with keys by which its rows can be told apart."""
    for domain, what in ((production, "what is served"), (other, "the alternative")):
        if view not in domain.views:
            raise TidemarkError(f"{what} has no view '{view}'; {nearest(view, domain.views)}")
    keys, others = (list(domain.views[view].group_by) for domain in (production, other))
    if sorted(keys) != sorted(others):
        raise TidemarkError(
            f"'{view}' is grouped by {', '.join(keys) or 'nothing'}, the alternative by "
            f"{', '.join(others) or 'nothing'}: "
            "rows are compared by their keys, so give the alternative keys of the same names"
        )


def _check_dimension(domain: Domain, view: str, name: str) -> None:
    used = used_dimensions(domain, domain.views[_chain(domain, view)[-1]])
    if name not in used:
        raise TidemarkError(
            f"'{view}' uses no dimension '{name}'; " + (nearest(name, used) if used else "it uses none")
        )


def _chain(domain: Domain, view: str) -> list[str]:
    """The view, the one that it is over, and so on down to the one with states."""
    chain = [view]
    while (over := domain.views[chain[-1]].over) is not None:
        chain.append(over)
    return chain


def _from_raw(
    settings: Settings, domain: Domain, kernel: Kernel, stored: str, answer: Answer, held: Mapping[str, int]
) -> pa.Table:
    """The states of the events below the answer's head."""
    raw = Raw(settings, domain)
    table = raw.await_positions(answer.head, settings.verify_timeout_seconds)
    problems: list[str] = []
    marks = marks_of(kernel, domain, records(raw, table, problems), settings.segment_seconds)
    if marks.timeline:
        marks = replace(marks, timeline=_Held(**vars(marks.timeline), held=dict(held)))
    recompute = Recompute(kernel, {stored: answer.head}, marks)
    for rows in records(raw, table, problems):
        recompute.add(rows)
    if problems:
        raise RawDamaged("; ".join(dict.fromkeys(problems)))
    return recompute.states(stored)


@dataclass(frozen=True)
class _Held(Timeline):
    """A timeline on which some dimensions have one version from the beginning on."""

    held: Versions = field(default_factory=dict)

    def versions(self, dimension: str, partition: np.ndarray, offset: np.ndarray) -> np.ndarray:
        if dimension in self.held:
            return np.full(len(offset), self.held[dimension], np.int64)
        return super().versions(dimension, partition, offset)
