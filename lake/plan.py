"""A view as SQL: the steps from parsed events to states, from states to states, and from states to values.

Invariant: the text of `aggregate` and `merge` is all that decides a view's states. Nothing here runs a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

STATES = ":states"
"""What the table of states is called, unless something else is said."""
PLACE = ":place"
"""The column of a row that says where its event stands: a struct of event_time, partition, offset."""


@dataclass(frozen=True)
class State:
    """One state column: its aggregates over rows and over states; with a bucket, those of each bucket's part."""

    state: str
    merge: str
    bucket: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which rows, keyed by what, and for each state its fragments; then the values, and which of them are shown.

    `rows` is a SELECT of the keys and of what the fragments name, without a FROM. `source` is what it selects from.
    """

    source: str
    rows: str
    keys: Sequence[str]
    states: Mapping[str, State]
    values: Mapping[str, str]
    derived: Mapping[str, str] = field(default_factory=dict)
    having: str | None = None
    order: Sequence[str] = ()
    limit: int | None = None
    per: Sequence[str] = ()
    retention: tuple[str, int] | None = None

    def aggregate(self, by: Sequence[str] = ()) -> str:
        """Rows -> states; `by` are columns of the source that become leading keys."""
        rows = f"SELECT {', '.join([*quoted(by), self.rows])} {self.source}"
        columns = {name: (s.bucket, s.state) for name, s in self.states.items()}
        return _grouped([*by, *self.keys], columns, rows)

    def merge(self, by: Sequence[str] = (), table: str = STATES) -> str:
        """The table of states -> states."""
        keys = [*by, *self.keys]
        columns = {
            name: ('":e".bucket', s.merge.format(s='":e".part')) if s.bucket else (None, s.merge.format(s=f'"{name}"'))
            for name, s in self.states.items()
        }
        opened = {
            name: _select([*quoted(keys), f'unnest("{name}") AS ":e"'], f'"{table}"')
            for name, s in self.states.items()
            if s.bucket
        }
        return _grouped(keys, columns, f'SELECT * FROM "{table}"', opened)

    def present(self, table: str = STATES) -> str:
        """The table of states -> every row's values, in the same order."""
        sql = f'SELECT {", ".join([*quoted(self.keys), *as_columns(self.values)])} FROM "{table}"'
        for name, expression in self.derived.items():
            sql = f'SELECT *, TRY({expression}) AS "{name}" FROM ({sql}) AS ":values"'
        return sql

    def shown(self) -> str:
        """The table `:presented` -> the rows that are shown, in order; `as_of` is a parameter if there is retention."""
        sql = 'SELECT * FROM ":presented"'
        tests = [f"TRY({self.having})"] if self.having else []
        if self.retention:
            key, days = self.retention
            tests.append(f'"{key}" >= $as_of::TIMESTAMPTZ - to_days({days})')
        if tests:
            sql += f" WHERE {' AND '.join(tests)}"
        # Whatever the order leaves open is decided by the keys, so that the same rows are always the first.
        order = ", ".join([*self.order, *(f"{key} NULLS FIRST" for key in quoted(self.keys))])
        if self.limit is not None and self.per:
            within = ", ".join(quoted(self.per))
            sql += f" QUALIFY row_number() OVER (PARTITION BY {within} ORDER BY {order}) <= {self.limit}"
        if self.order:
            first = ", ".join(f"{key} DESC" for key in quoted(self.per))
            sql += f" ORDER BY {first}, {order}" if first else f" ORDER BY {order}"
        if self.limit is not None and not self.per:
            sql += f" LIMIT {self.limit}"
        return sql


def quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def as_columns(columns: Mapping[str, str]) -> list[str]:
    return [f'{sql} AS "{name}"' for name, sql in columns.items()]


def _grouped(
    keys: Sequence[str],
    columns: Mapping[str, tuple[str | None, str]],
    rows: str,
    opened: Mapping[str, str] | None = None,
) -> str:
    """One row for each key: plain aggregates, and maps, which are grouped by their bucket first.

    Names of its own begin with a colon, which no declared name does.

    `opened` gives the rows of a map where they are not `rows`.
    """
    plain = {name: aggregate for name, (bucket, aggregate) in columns.items() if bucket is None}
    maps = {name: (bucket, aggregate) for name, (bucket, aggregate) in columns.items() if bucket is not None}
    names = quoted(keys)
    order = f" ORDER BY {', '.join(f'{c} NULLS FIRST' for c in names)}" if names else ""
    if not maps:
        return _by_keys(names, as_columns(plain), f'({rows}) AS ":rows"') + order
    # Each part is grouped by itself, and what belongs to a key is put side by side by grouping again: a condition on
    # keys passes a GROUP BY on its way down to the rows, but no join whose keys may be NULL.
    parts = [_by_keys(names, as_columns(plain or {":count": "count(*)"}), '":rows"')]
    for name, (bucket, aggregate) in maps.items():
        source = f"({opened[name]})" if opened else '":rows"'
        counted = _select([*names, f'{bucket} AS ":bucket"', f'{aggregate} AS ":part"'], f'{source} AS ":opened"')
        counted += f""" WHERE ":bucket" IS NOT NULL GROUP BY {", ".join([*names, '":bucket"'])}"""
        listed = as_columns({name: """list({'bucket': ":bucket", 'part': ":part"} ORDER BY ":bucket")"""})
        parts.append(_by_keys(names, listed, f'({counted}) AS ":counted"'))
    beside = {
        name: f'coalesce(any_value("{name}"), [])' if name in maps else f'any_value("{name}")' for name in columns
    }
    gathered = _by_keys(names, as_columns(beside), f'({" UNION ALL BY NAME ".join(parts)}) AS ":parts"')
    return f'WITH ":rows" AS ({rows}) {gathered}{order}'


def _by_keys(names: Sequence[str], aggregates: Sequence[str], source: str) -> str:
    # Without keys SQL would invent a row for no events at all.
    end = f"GROUP BY {', '.join(names)}" if names else "HAVING count(*) > 0"
    return f"{_select([*names, *aggregates], source)} {end}"


def _select(columns: Sequence[str], source: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {source}"
