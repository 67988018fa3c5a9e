"""The mean of integers or decimals: an exact sum and a count, divided at read."""

from __future__ import annotations

from lake.measures.argument import exact
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    x = exact("avg", duckdb_type)
    return Compiled(
        f"CASE WHEN count({x}) > 0 THEN {{{{'sum': sum({x}), 'count': count({x})}}}} END",
        "CASE WHEN count({s}) > 0 THEN {{'sum': sum({s}.sum), 'count': CAST(sum({s}.count) AS BIGINT)}} END",
        {"": "CAST({s}.sum AS DOUBLE) / {s}.count"},
    )


MEASURE = Measure(summary="mean of integers or decimals, from an exact sum", compile=_compile)
