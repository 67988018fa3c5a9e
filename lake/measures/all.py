"""Whether a condition holds for every event that has one; NULL where none has."""

from __future__ import annotations

from lake.measures.argument import condition
from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return Compiled(f"bool_and({condition('all', duckdb_type)})", "bool_and({s})")


MEASURE = Measure(summary="whether a condition holds for every event", compile=_compile)
