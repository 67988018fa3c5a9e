"""The smallest value; NULL where no event has one. Strings compare by their bytes."""

from __future__ import annotations

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return Compiled(f"min({comparable('min', duckdb_type)})", "min({s})")


MEASURE = Measure(summary="smallest value", compile=_compile)
