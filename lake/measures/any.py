"""Whether a condition holds for at least one event that has one; NULL where none has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lake.measures.argument import condition
from lake.measures.measure import Compiled, Measure


def folded(measure: str, function: str) -> Callable[[str, Any], Compiled]:
    """The `compile` of any and all."""
    return lambda duckdb_type, options: Compiled(f"{function}({condition(measure, duckdb_type)})", f"{function}({{s}})")


MEASURE = Measure(summary="whether a condition holds for at least one event", compile=folded("any", "bool_or"))
