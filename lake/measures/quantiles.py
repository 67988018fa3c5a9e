"""Quantiles with a stated relative error, from counts in logarithmic buckets.

Invariant: a quantile is off by at most 1/128 (0.8 %) of itself, for any distribution and number of values, for
magnitudes from 1e-307; whole numbers below 128 are exact.

A bucket is the exponent and the first six bits of the fraction of the value as an IEEE double, and its sign: 64
buckets of equal width for each doubling. The boundaries are therefore part of the number format itself, and taking a
bucket is a shift: no logarithm, which platforms may round differently, and no table. What is too small for a bucket
counts as zero. The value is the middle of the bucket that holds the event of rank ceil(at * count).
"""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, field_validator

from lake.measures.argument import is_integer, number
from lake.measures.measure import Compiled, Measure, Options

RELATIVE_ERROR = 1 / 128
_SHIFT = 52 - 6

_MACROS = f"""
CREATE MACRO log_bucket(x) AS
    CASE WHEN isfinite(x) THEN sign(x)::INTEGER * (abs(x)::BIT::BIGINT >> {_SHIFT})::INTEGER END;
CREATE MACRO log_low(bucket) AS (abs(bucket)::BIGINT << {_SHIFT})::BIT::DOUBLE;
CREATE MACRO log_middle(bucket) AS
    sign(bucket) * ((abs(bucket)::BIGINT << {_SHIFT}) | {1 << (_SHIFT - 1)})::BIT::DOUBLE;
CREATE MACRO log_whole(bucket) AS
    CASE WHEN log_low(bucket) < 128 THEN sign(bucket) * log_low(bucket) ELSE log_middle(bucket) END;
CREATE MACRO rank_bucket(counts, share) AS
    list_reduce(
        counts,
        lambda _a, _e: CASE WHEN _a.part <= 0 THEN _a ELSE {{'bucket': _e.bucket, 'part': _a.part - _e.part}} END,
        {{
            'bucket': NULL::INTEGER,
            'part': ceil(list_sum(list_transform(counts, lambda _e: _e.part))::BIGINT * share)::BIGINT
        }}).bucket;
"""


class _Options(Options):
    at: tuple[float, ...] = Field(min_length=1)

    @field_validator("at")
    @classmethod
    def _check(cls, at: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 and share == round(share, 12) for share in at):
            raise ValueError("expected shares between 0 and 1, such as [0.5, 0.99], of at most 12 digits")
        return at


def _suffix(share: float) -> str:
    """0.5 -> p50, 0.999 -> p99_9."""
    return "p" + format((Decimal(repr(share)) * 100).normalize(), "f").replace(".", "_")


def _compile(duckdb_type: str, options: _Options) -> Compiled:
    x = number("quantiles", duckdb_type)
    present = "log_whole" if is_integer(duckdb_type) else "log_middle"
    return Compiled(
        state="count(*)",
        merge="CAST(sum({s}) AS BIGINT)",
        values={_suffix(share): f"{present}(rank_bucket({{s}}, {Decimal(repr(share)):f}))" for share in options.at},
        bucket=f"log_bucket(CAST({x} AS DOUBLE))",
    )


MEASURE = Measure(
    summary="quantiles of numbers: 0.8 % relative error",
    compile=_compile,
    options=_Options,
    suffixes=lambda options: [_suffix(share) for share in options.at],
    macros=_MACROS,
)
