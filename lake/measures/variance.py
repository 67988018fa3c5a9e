"""The sample variance of integers or decimals, from exact sums of values and of squares.

Invariant: no sum overflows, and no digits cancel. A value has at most 19 digits; its square, below 2^127, is kept in
two limbs of 63 bits, and only what is left after the mean was taken off becomes a double.

With m = sum // n and r = sum % n, the squares about m add up to squares - m * (n * m + 2 * r), taken limb by limb, and
n times that - r^2 is n times the sum of squares about the mean. The sign of the sum does not matter, so it is left out.
"""

from __future__ import annotations

from lake.measures.argument import digits_of, exact
from lake.measures.measure import Compiled, Measure, Options

_LIMB = 2**63
_LARGEST_DECIMAL = 18

_MACROS = f"""
CREATE MACRO moments_twice(n, total) AS n * (total // n) + 2 * (total % n);
CREATE MACRO moments_low(n, total) AS (total // n) * (moments_twice(n, total) % {_LIMB});
CREATE MACRO moments_about(n, total, high, low) AS {{
    'high': high - (total // n) * (moments_twice(n, total) // {_LIMB}) - moments_low(n, total) // {_LIMB},
    'low': low - moments_low(n, total) % {_LIMB}
}};
CREATE MACRO moments_spread(n, total, about) AS coalesce(
    TRY(n * ((about.high + about.low // {_LIMB}) * {_LIMB} + about.low % {_LIMB}) - (total % n) * (total % n))::DOUBLE,
    n::DOUBLE * (about.high::DOUBLE * {_LIMB}::DOUBLE + about.low::DOUBLE)
);
CREATE MACRO moments_variance(n, total, high, low) AS
    CASE WHEN n > 1 THEN moments_spread(n, total, moments_about(n, total, high, low)) / n / (n - 1) END;
"""


def compile_moments(measure: str, duckdb_type: str, value: str) -> Compiled:
    """Count, sum and squares of the argument as whole numbers; `value` is made of {variance}."""
    exact(measure, duckdb_type)
    precision, scale = digits_of(duckdb_type) or (0, 0)
    if precision > _LARGEST_DECIMAL or duckdb_type in ("UBIGINT", "HUGEINT", "UHUGEINT"):
        raise ValueError(
            f"{measure} needs an integer or a decimal of at most {_LARGEST_DECIMAL} digits, found {duckdb_type}; "
            f"cast it, as in CAST(x AS DECIMAL({_LARGEST_DECIMAL}, {min(scale, _LARGEST_DECIMAL)}))"
        )
    whole = f"CAST(CAST({{x}} AS DECIMAL(38, {scale})) * {10**scale} AS BIGINT)" if precision else "{x}"
    sums = "{s}.count::HUGEINT, abs({s}.sum::HUGEINT), {s}.squares_high::HUGEINT, {s}.squares_low::HUGEINT"
    square = f"CAST({whole} AS HUGEINT) * {whole}"
    return Compiled(
        f"""CASE WHEN count({{x}}) > 0 THEN {{{{'count': count({{x}}), 'sum': sum({whole}),
            'squares_high': sum({square} // {_LIMB}), 'squares_low': sum({square} % {_LIMB})}}}} END""",
        """CASE WHEN count({s}) > 0 THEN {{'count': CAST(sum({s}.count) AS BIGINT), 'sum': sum({s}.sum),
            'squares_high': sum({s}.squares_high), 'squares_low': sum({s}.squares_low)}} END""",
        {"": value.format(variance=f"(moments_variance({sums}) / {10**scale}::DOUBLE / {10**scale}::DOUBLE)")},
    )


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return compile_moments("variance", duckdb_type, "{variance}")


MEASURE = Measure(summary="sample variance of integers or decimals, from exact sums", compile=_compile, macros=_MACROS)
