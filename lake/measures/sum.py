"""The exact sum of integers or decimals; NULL where no event has a value."""

from __future__ import annotations

from lake.measures.argument import exact
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return Compiled(f"sum({exact('sum', duckdb_type)})", "sum({s})")


MEASURE = Measure(summary="sum of integers or decimals, exact", compile=_compile, additive=True)
