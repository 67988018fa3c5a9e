"""The smallest value; NULL where no event has one."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, of_any_type

MEASURE = Measure(summary="smallest value", compile=of_any_type(Compiled("min({x})", "min({s})")))
