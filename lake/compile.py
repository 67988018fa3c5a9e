"""From a declared view to its plan: expressions typed by DuckDB, measures turned into their fragments.

Invariant: an expression that fails on some event is NULL there (TRY); it never stops a layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from lake import expressions
from lake.domain import APPEND_TIME, Domain
from lake.domain_errors import mismatch
from lake.duplicates import DUPLICATE
from lake.errors import BadDomain
from lake.joins import join_sql, row_sql
from lake.measures import MEASURES, Compiled
from lake.parse import MARKER, parse_sql, usable
from lake.plan import PLACE, Plan, State, as_columns
from lake.view import MeasureUse, View
from lake.yaml_file import Path

QUARANTINE = "_quarantine"
COUNTS = "_counts"
_KEY_TYPES = ("VARCHAR", "BIGINT", "BOOLEAN", "TIMESTAMP", "DATE", "DECIMAL")


def compile_view(db: duckdb.DuckDBPyConnection, domain: Domain, view: View) -> Plan:
    """The plan of a view over the table `parsed`, or over `below`, the rows of the view that it is over.

    `db` holds that table, for the types of its columns. Raises BadDomain where types do not fit.
    """
    return _Compiler(db, domain, view).plan()


class _Compiler:
    def __init__(self, db: duckdb.DuckDBPyConnection, domain: Domain, view: View) -> None:
        self._db, self._domain, self._view = db, domain, view
        self._from = "FROM below" if view.over else _events(domain, view)
        for name, expression in view.each.items():
            self._check_list(name, expression)
            self._from = f'FROM (SELECT *, unnest(TRY({expression})) AS "{name}" {self._from}) AS ":events"'

    def plan(self) -> Plan:
        view = self._view
        keys = {key: self._key(key, expression) for key, expression in view.group_by.items()}
        arguments, states, values = {}, {}, {}
        for name, use in view.measures.items():
            column = f"of:{name}"
            arguments[column] = "1" if use.of == "*" else f"TRY({use.of})"
            compiled = self._measure(name, use, arguments[column])
            x = f'"{column}"'
            state, bucket = compiled.state.format(x=x, at=f'"{PLACE}"'), compiled.bucket and compiled.bucket.format(x=x)
            states[name] = State(state, compiled.merge, bucket)
            for suffix, value in compiled.values.items():
                values[f"{name}_{suffix}" if suffix else name] = value.format(s=f'"{name}"')
        if view.uses_event_time:
            arguments[PLACE] = self._place()
        source = self._from
        if view.where:
            if (found := self._type_of(f"TRY({view.where})", ("where",))) != "BOOLEAN":
                raise self._bad(("where",), f"'{view.where}' is a {found}; expected a condition, true or false")
            source = f'FROM (SELECT * {source}) AS ":events" WHERE TRY({view.where})'
        return Plan(
            source=source,
            rows=", ".join(as_columns({**keys, **arguments})),
            keys=list(keys),
            states=states,
            values=values,
            derived=view.values,
            having=view.having,
            order=[_order(term) for term in view.order_by],
            limit=view.limit,
            per=view.per,
            retention=(view.retention.key, view.retention.days) if view.retention else None,
        )

    def _measure(self, name: str, use: MeasureUse, argument: str) -> Compiled:
        measure = MEASURES[use.kind]
        try:
            return measure.compile(
                self._type_of(argument, ("measures", name)), measure.options.model_validate(use.options)
            )
        except ValueError as error:
            raise self._bad(("measures", name), str(error)) from None

    def _key(self, key: str, expression: str) -> str:
        found = self._type_of(f"TRY({expression})", ("group_by", key))
        if found.endswith("INT") or found == "INTEGER":
            return f"TRY(({expression})::BIGINT)"
        if not found.startswith(_KEY_TYPES) or found.endswith("[]"):
            raise self._bad(
                ("group_by", key),
                f"'{expression}' is a {found}; a key is a string, integer, decimal, boolean, time or date",
            )
        return f"TRY({expression})"

    def _check_list(self, name: str, expression: str) -> None:
        found = self._type_of(f"TRY({expression})", ("each", name))
        if not found.endswith("[]"):
            raise self._bad(("each", name), f"'{expression}' is a {found}; expected a list")

    def _place(self) -> str:
        if self._view.over:
            name = next(name for name, use in self._view.measures.items() if use.kind in ("first", "last"))
            raise self._bad(("measures", name), "first and last need events, and this view is over another view")
        return f"""{{'event_time': "{self._domain.event_time}", 'partition': "partition", 'offset': "offset"}}"""

    def _type_of(self, expression: str, path: Path) -> str:
        try:
            return str(self._db.sql(f"SELECT {expression} AS x {self._from}").types[0])
        except duckdb.Error as error:
            raise self._bad(path, expressions.plainly(error)) from None

    def _bad(self, path: Path, said: str) -> BadDomain:
        return mismatch(self._domain.name, self._view.name, path, said)


def _events(domain: Domain, view: View) -> str:
    """The records that a view may use; a dimension's row is a struct of the dimension's name."""
    columns, joins = ["parsed.*"], ""
    for name in used_dimensions(domain, view):
        columns.append(f'"{name}"')
        joins += join_sql(domain, name)
    records = f"SELECT {', '.join(columns)} FROM parsed{joins}" if joins else "SELECT * FROM parsed"
    return f'FROM ({records}) AS ":events" WHERE {usable(domain, used_columns(domain, view))}'


def used_columns(domain: Domain, view: View) -> set[str]:
    """The fields that a view over events reads, those that its dimensions are joined on included."""
    used = {name for e in view.event_expressions.values() for name in expressions.columns_of(e)} - set(view.each)
    for name in used_dimensions(domain, view):
        used |= expressions.columns_of(domain.dimensions[name].on)
    if domain.dedup:
        used |= expressions.columns_of(domain.dedup.key)
    if view.uses_event_time and domain.event_time != APPEND_TIME:
        used.add(domain.event_time)
    return {name for name in used if name in domain.fields}


def read_columns(domain: Domain) -> set[str]:
    """The fields that any view with states reads."""
    return set().union(*(used_columns(domain, view) for view in domain.stored_views.values()))


def used_dimensions(domain: Domain, view: View) -> list[str]:
    """The dimensions whose columns a view over events names."""
    used = {name.partition(".")[0] for e in view.event_expressions.values() for name in expressions.columns_of(e)}
    return [name for name in domain.dimensions if name in used]


def definition_text(db: duckdb.DuckDBPyConnection, domain: Domain, name: str) -> list[str]:
    """All the SQL that decides a view's states, and nothing else.

    Only the fields that the view uses or that are required count: an optional field more changes no other view.
    """
    if name not in domain.views:
        plan = built_in_plans()[name]
        return [parse_sql(domain, "batch"), plan.aggregate(), plan.merge(), repr(domain.dedup)]
    view = domain.views[name]
    used = used_columns(domain, view)
    fields = {name: field for name, field in domain.fields.items() if field.required or name in used}
    pruned = domain.model_copy(update={"fields": fields})
    plan = compile_view(db, pruned, view)
    macros = [MEASURES[kind].macros for kind in sorted({use.kind for use in view.measures.values()})]
    dimensions = [row_sql(domain, name) for name in used_dimensions(domain, view)]
    dedup = [repr(domain.dedup)] if domain.dedup else []
    return [parse_sql(pruned, "batch"), plan.aggregate(), plan.merge(), *macros, *dimensions, *dedup]


def stored_below(domain: Domain, name: str) -> str:
    """The view with states that a declared view is read from; a built-in one is its own."""
    while name in domain.views and (over := domain.views[name].over) is not None:
        name = over
    return name


def built_in_plans() -> Mapping[str, Plan]:
    """The kernel's own views: the bad records, and how many records there are of each sort."""
    copied = ("append_time", "key", "value", "reason")
    passed = f"'{MARKER}', '{DUPLICATE}'"  # neither good nor bad
    counted = {
        "events": "count(*)",
        "good": 'count(*) FILTER (WHERE "of:reason" IS NULL)',
        "quarantined": f'count(*) FILTER (WHERE "of:reason" NOT IN ({passed}))',
        "markers": f"count(*) FILTER (WHERE \"of:reason\" = '{MARKER}')",
        "duplicates": f"count(*) FILTER (WHERE \"of:reason\" = '{DUPLICATE}')",
    }
    quarantine = Plan(
        source=f"FROM parsed WHERE reason NOT IN ({passed})",
        rows=", ".join(['"partition"', '"offset"', *as_columns({f"of:{name}": name for name in copied})]),
        keys=["partition", "offset"],
        states={name: State(f'min("of:{name}")', "min({s})") for name in copied},
        values={name: f'"{name}"' for name in copied},
    )
    counts = Plan(
        source="FROM parsed",
        rows='"partition", reason AS "of:reason"',
        keys=["partition"],
        states={name: State(aggregate, "CAST(sum({s}) AS BIGINT)") for name, aggregate in counted.items()},
        values={name: name for name in counted},
    )
    return {QUARANTINE: quarantine, COUNTS: counts}


def _order(term: str) -> str:
    name, _, direction = term.partition(" ")
    return f'"{name}" {direction or "asc"} NULLS LAST'
