"""The value of the event that happened last: by event_time, then partition and offset; NULLs count for nothing."""

from __future__ import annotations

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    x = comparable("last", duckdb_type, lists=True)
    return Compiled(
        f"max({{{{'place': {{at}}, 'value': {x}}}}}) FILTER (WHERE ({x}) IS NOT NULL)",
        "max({s})",
        {"": "{s}.value"},
    )


MEASURE = Measure(summary="value of the event with the greatest (event_time, partition, offset)", compile=_compile)
