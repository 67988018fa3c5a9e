"""How many different values there are, exactly: the state is their sorted list, so it is for small sets."""

from __future__ import annotations

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    x = comparable("distinct_exact", duckdb_type)
    empty = f"CAST([] AS {duckdb_type}[])"
    return Compiled(
        f"coalesce(list_sort(list(DISTINCT {x}) FILTER (WHERE ({x}) IS NOT NULL)), {empty})",
        f"coalesce(list_sort(list_distinct(flatten(list({{s}})))), {empty})",
        {"": "len({s})"},
    )


MEASURE = Measure(summary="number of different values, exact: for small sets", compile=_compile)
