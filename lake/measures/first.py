"""The value of the event that happened first: by event_time, then partition and offset; NULLs count for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure


def at_end(measure: str, function: str) -> Callable[[str, Any], Compiled]:
    """The `compile` of first and last: the min or max of where an event stands, and of its value."""

    def compile_at_end(duckdb_type: str, options: object) -> Compiled:
        x = comparable(measure, duckdb_type, lists=True)
        return Compiled(
            f"{function}({{{{'place': {{at}}, 'value': {x}}}}}) FILTER (WHERE ({x}) IS NOT NULL)",
            f"{function}({{s}})",
            {"": "{s}.value"},
        )

    return compile_at_end


MEASURE = Measure(
    summary="value of the event with the least (event_time, partition, offset)", compile=at_end("first", "min")
)
