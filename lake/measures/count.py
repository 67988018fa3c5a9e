"""How many events there are, or how many of them have a value."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, of_any_type

MEASURE = Measure(
    summary="number of events, or of those whose argument is not NULL",
    compile=of_any_type(Compiled("count({x})", "CAST(sum({s}) AS BIGINT)")),
    additive=True,
)
