"""The smallest value; NULL where no event has one. Strings compare by their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure


def extreme(function: str) -> Callable[[str, Any], Compiled]:
    """The `compile` of min and max."""
    return lambda duckdb_type, options: Compiled(
        f"{function}({comparable(function, duckdb_type)})", f"{function}({{s}})"
    )


MEASURE = Measure(summary="smallest value", compile=extreme("min"))
