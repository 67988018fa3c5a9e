"""How many events there are, or how many of them have a value."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, Options


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return Compiled("count({x})", "CAST(sum({s}) AS BIGINT)")


MEASURE = Measure(summary="number of events, or of those whose argument is not NULL", compile=_compile, additive=True)
