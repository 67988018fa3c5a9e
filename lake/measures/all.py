"""Whether a condition holds for every event that has one; NULL where none has."""

from __future__ import annotations

from lake.measures.any import folded
from lake.measures.measure import Measure

MEASURE = Measure(summary="whether a condition holds for every event", compile=folded("all", "bool_and"))
