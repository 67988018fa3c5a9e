"""The sample standard deviation of integers or decimals: the root of the variance, with the same state."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, Options
from lake.measures.variance import compile_moments


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return compile_moments("stddev", duckdb_type, "sqrt({variance})")


MEASURE = Measure(summary="sample standard deviation of integers or decimals, from exact sums", compile=_compile)
