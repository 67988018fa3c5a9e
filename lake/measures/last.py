"""The value of the event that happened last: by event_time, then partition and offset; NULLs count for nothing."""

from __future__ import annotations

from lake.measures.first import at_end
from lake.measures.measure import Measure

MEASURE = Measure(
    summary="value of the event with the greatest (event_time, partition, offset)", compile=at_end("last", "max")
)
