"""The largest value; NULL where no event has one. Strings compare by their bytes."""

from __future__ import annotations

from lake.measures.measure import Measure
from lake.measures.min import extreme

MEASURE = Measure(summary="largest value", compile=extreme("max"))
