"""What a measure is given: which types it takes, and its argument as canonical SQL.

Invariant: a value that a measure sees has one spelling (no NaN, no infinity, no -0.0), so equal values make equal
states; sums are over integers and decimals of at most 28 digits, so 10^10 events overflow nothing.
"""

from __future__ import annotations

import re

_PLAIN = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR"),
    *("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
)
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE")
_SUMMED_DIGITS, _SUMMED_SCALE = 28, 18
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def canonical(duckdb_type: str) -> str:
    """{x}, or NULL for what is no number: expressions make infinities and -0.0 though no field holds them."""
    return "CASE WHEN isfinite({x}) THEN {x} + 0.0::DOUBLE END" if duckdb_type in _FLOATS else "{x}"


def comparable(measure: str, duckdb_type: str, lists: bool = False) -> str:
    """{x} of a type whose values have one order in every engine. Raises ValueError with the fix."""
    item = duckdb_type.removesuffix("[]")
    if item in _PLAIN or digits_of(item):
        if item == duckdb_type:
            return canonical(duckdb_type)
        if lists and item not in _FLOATS:
            return "{x}"
    fix = "take it apart with 'each'" if duckdb_type.endswith("[]") else "cast it, as in CAST(x AS BIGINT)"
    raise ValueError(f"{measure} needs a string, number, boolean, time or date, found {duckdb_type}; {fix}")


def exact(measure: str, duckdb_type: str) -> str:
    """{x} of a type whose sum depends on no order. Raises ValueError with the fix.

    Of wider ones, such as products, what has more than 28 digits counts as NULL; 18 places behind the point are kept.
    """
    digits = digits_of(duckdb_type)
    if duckdb_type in _INTEGERS or (digits and digits[0] <= _SUMMED_DIGITS):
        return "{x}"
    if digits or duckdb_type in ("HUGEINT", "UHUGEINT"):
        return f"TRY_CAST({{x}} AS DECIMAL({_SUMMED_DIGITS}, {min(digits[1], _SUMMED_SCALE) if digits else 0}))"
    why = ", and floating sums depend on their order" if duckdb_type in _FLOATS else ""
    raise ValueError(
        f"{measure} needs an integer or decimal, found {duckdb_type}{why}; cast it, as in CAST(x AS DECIMAL(18, 6))"
    )


def number(measure: str, duckdb_type: str) -> str:
    """{x} of any type of number. Raises ValueError with the fix."""
    if is_integer(duckdb_type) or digits_of(duckdb_type) or duckdb_type in _FLOATS:
        return canonical(duckdb_type)
    raise ValueError(f"{measure} needs a number, found {duckdb_type}; cast it, as in CAST(x AS DOUBLE)")


def condition(measure: str, duckdb_type: str) -> str:
    """{x} of a type that is true or false. Raises ValueError with the fix."""
    if duckdb_type != "BOOLEAN":
        raise ValueError(f"{measure} needs a condition, found {duckdb_type}; compare it, as in x > 0")
    return "{x}"


def is_integer(duckdb_type: str) -> bool:
    return duckdb_type in (*_INTEGERS, "HUGEINT", "UHUGEINT")


def digits_of(duckdb_type: str) -> tuple[int, int] | None:
    """(precision, scale) of a decimal, else None."""
    match = _DECIMAL.fullmatch(duckdb_type)
    return (int(match[1]), int(match[2])) if match else None
