"""How many values lie between given bounds: (none, b1], (b1, b2], ... and above the last one."""

from __future__ import annotations

import math
from decimal import Decimal

from pydantic import Field, field_validator

from lake.measures.argument import digits_of, is_integer, number
from lake.measures.measure import Compiled, Measure, Options

_LARGEST = 10**18


class _Options(Options):
    bounds: tuple[int | float, ...] = Field(min_length=1, max_length=100)

    @field_validator("bounds")
    @classmethod
    def _check(cls, bounds: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if list(bounds) != sorted(set(bounds)) or not all(abs(b) <= _LARGEST for b in bounds):
            raise ValueError("expected ascending numbers, at most 10^18")
        return bounds


def _compile(duckdb_type: str, options: _Options) -> Compiled:
    x = number("histogram", duckdb_type)
    bounds = [_literal(duckdb_type, bound) for bound in options.bounds]
    cases = " ".join(f"WHEN ({x}) <= {bound} THEN {index}" for index, bound in enumerate(bounds))
    up_to = ", ".join([*(f"{bound!r}::DOUBLE" for bound in options.bounds), "NULL"])
    count = "coalesce(list_filter({s}, lambda _e: _e.bucket = _i - 1)[1].part, 0)"
    return Compiled(
        state="count(*)",
        merge="CAST(sum({s}) AS BIGINT)",
        values={"": f"list_transform([{up_to}], lambda _b, _i: {{{{'up_to': _b, 'count': {count}}}}})"},
        bucket=f"CASE WHEN ({x}) IS NOT NULL THEN CASE {cases} ELSE {len(bounds)} END END",
    )


def _literal(duckdb_type: str, bound: int | float) -> str:
    """The bound in the argument's own type, rounded down, so that no comparison rounds or overflows."""
    digits = digits_of(duckdb_type)
    if not digits and not is_integer(duckdb_type):
        return f"{float(bound)!r}::DOUBLE"
    scale = digits[1] if digits else 0
    unscaled = math.floor(Decimal(repr(bound)).scaleb(scale))
    return f"{Decimal(unscaled).scaleb(-scale):f}"


MEASURE = Measure(summary="number of values up to each bound and above", compile=_compile, options=_Options)
