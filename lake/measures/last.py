"""The value of the event that happened last: by event_time, then partition and offset; NULLs count for nothing."""

from __future__ import annotations

from lake.measures.measure import Compiled, Measure, of_any_type

MEASURE = Measure(
    summary="value of the event with the greatest (event_time, partition, offset)",
    compile=of_any_type(
        Compiled(
            "max({{'place': {at}, 'value': {x}}}) FILTER (WHERE {x} IS NOT NULL)",
            "max({s})",
            {"": "{s}.value"},
        )
    ),
)
