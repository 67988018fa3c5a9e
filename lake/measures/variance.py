"""The sample variance of integers or decimals, from exact sums of values and of squares.

Invariant: no sum overflows. A value has at most 19 digits; its square, below 2^127, is kept in two limbs of 63 bits.

The value is computed from exact integers where the sum of squares is below 2^127 (1.7e38), else in doubles.
Integers are shifted by their mean first: with m = sum // n and r = sum % n, the squares about m add up to
squares - m * (n * m + 2 * r), and n * that - r^2 is n^2 times the squares about the mean.
"""

from __future__ import annotations

from lake.measures.argument import digits_of, exact
from lake.measures.measure import Compiled, Measure, Options

_LIMB = 2**63
_LARGEST_DECIMAL = 18

_MACROS = f"""
CREATE MACRO moments_exact(n, total, squares) AS
    n * (squares - (total // n) * (n * (total // n) + 2 * (total % n))) - (total % n) * (total % n);
CREATE MACRO moments_floating(n, total, high, low) AS
    greatest(0, high::DOUBLE * {_LIMB}::DOUBLE + low::DOUBLE - total::DOUBLE / n * total::DOUBLE) * n;
CREATE MACRO moments_variance(s, scale) AS
    CASE WHEN s.count > 1 THEN coalesce(
        TRY(moments_exact(
            s.count::HUGEINT, s.sum::HUGEINT, s.squares_high::HUGEINT * {_LIMB} + s.squares_low::HUGEINT))::DOUBLE,
        moments_floating(s.count, s.sum, s.squares_high, s.squares_low)
    ) / s.count / (s.count - 1) / scale / scale END;
"""


def compile_moments(measure: str, duckdb_type: str, value: str) -> Compiled:
    """Count, sum and squares of the argument as whole numbers; `value` is a format of the variance, {{variance}}."""
    exact(measure, duckdb_type)
    precision, scale = digits_of(duckdb_type) or (0, 0)
    if precision > _LARGEST_DECIMAL or duckdb_type in ("UBIGINT", "HUGEINT", "UHUGEINT"):
        raise ValueError(
            f"{measure} needs an integer or a decimal of at most {_LARGEST_DECIMAL} digits, found {duckdb_type}; "
            f"cast it, as in CAST(x AS DECIMAL({_LARGEST_DECIMAL}, {min(scale, _LARGEST_DECIMAL)}))"
        )
    whole = f"CAST(CAST({{x}} AS DECIMAL(38, {scale})) * {10**scale} AS BIGINT)" if precision else "{x}"
    square = f"CAST({whole} AS HUGEINT) * {whole}"
    return Compiled(
        f"""CASE WHEN count({{x}}) > 0 THEN {{{{'count': count({{x}}), 'sum': sum({whole}),
            'squares_high': sum({square} // {_LIMB}), 'squares_low': sum({square} % {_LIMB})}}}} END""",
        """CASE WHEN count({s}) > 0 THEN {{'count': CAST(sum({s}.count) AS BIGINT), 'sum': sum({s}.sum),
            'squares_high': sum({s}.squares_high), 'squares_low': sum({s}.squares_low)}} END""",
        {"": value.format(variance=f"moments_variance({{s}}, {10**scale}::DOUBLE)")},
    )


def _compile(duckdb_type: str, options: Options) -> Compiled:
    return compile_moments("variance", duckdb_type, "{variance}")


MEASURE = Measure(summary="sample variance of integers or decimals, from exact sums", compile=_compile, macros=_MACROS)
