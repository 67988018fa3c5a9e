"""The largest value; NULL where no event has one."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, of_any_type

MEASURE = Measure(summary="largest value", compile=of_any_type(Compiled("max({x})", "max({s})")))
