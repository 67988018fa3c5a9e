"""The exact sum of integers or decimals; NULL where no event has a value."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, Options, is_exact_number


def _compile(duckdb_type: str, options: Options) -> Compiled:
    if not is_exact_number(duckdb_type):
        raise ValueError(f"sum needs an integer or decimal, found {duckdb_type}: floating sums depend on their order")
    return Compiled("sum({x})", "sum({s})")


MEASURE = Measure(summary="sum of integers or decimals, exact", compile=_compile, additive=True)
