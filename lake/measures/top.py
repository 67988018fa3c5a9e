"""The k most frequent values, exactly: the state counts every value, the k largest counts are taken at read.

Values of equal counts come in the order of their text.
"""

from __future__ import annotations

from pydantic import Field

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure, Options


class _Options(Options):
    k: int = Field(10, ge=1, le=10_000)


def _compile(duckdb_type: str, options: _Options) -> Compiled:
    ordered = "list_sort(list_transform({s}, lambda _e: {{'minus': -_e.part, 'value': _e.bucket}}))"
    first = f"list_slice({ordered}, 1, {options.k})"
    return Compiled(
        state="count(*)",
        merge="CAST(sum({s}) AS BIGINT)",
        values={"": f"list_transform({first}, lambda _e: {{{{'value': _e.value, 'count': -_e.minus}}}})"},
        bucket=f"CAST({comparable('top', duckdb_type)} AS VARCHAR)",
    )


MEASURE = Measure(summary="the k most frequent values with their counts, exact", compile=_compile, options=_Options)
