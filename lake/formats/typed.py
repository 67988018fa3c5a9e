"""A field's value from its text, as strict SQL, since DuckDB's own casts round and guess.

Invariant: `wrong` is true wherever `value` is not exactly what the text says; neither raises an error on any text.
"""

from __future__ import annotations

from lake.fields import EventField
from lake.formats.format import Cell, literal

# 9999-12-31T23:59:59.999Z: the last moment that every engine we carry data through can hold.
LAST_MS = 253_402_300_799_999
_ISO_8601 = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})"
_DOUBLE = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"


def value_of(field: EventField, text: str) -> str:
    """The value that a text of the field's type stands for; NULL for many that are not."""
    if field.decimal:
        precision, scale = field.decimal
        return f"TRY_CAST({text} AS DECIMAL({precision}, {scale}))"
    if field.strptime:
        parsed = f"try_strptime({text}, {literal(field.strptime)})"
        return f"TRY({parsed} AT TIME ZONE 'UTC')" if field.has_zone else f"TRY({parsed})"
    match field.type:
        case "string":
            return text
        case "integer":
            return f"TRY_CAST({text} AS BIGINT)"
        case "boolean":
            return f"TRY_CAST({text} AS BOOLEAN)"
        case "timestamp_ms":
            number = f"TRY_CAST({text} AS BIGINT)"
            return f"CASE WHEN {number} BETWEEN 0 AND {LAST_MS} THEN make_timestamp_ms({number}) END"
        case "timestamp":
            # A cast to TIMESTAMP would silently drop the offset from UTC.
            return f"(TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
        case "double":
            # + 0.0 makes -0.0 and 0.0 one value.
            return f"(TRY_CAST({text} AS DOUBLE) + 0.0)"
    items = "VARCHAR" if field.item == "string" else "BIGINT"
    return f"TRY_CAST(TRY_CAST({text} AS JSON) AS {items}[])"


def wrong_text(field: EventField, text: str) -> str:
    """Whether a text, which is not NULL, is none of the field's type."""
    value = value_of(field, text)
    if field.decimal:
        return f"NOT regexp_full_match({text}, '{decimal_digits(field)}') OR {value} IS NULL"
    if field.strptime:
        return f"{value} IS NULL"
    match field.type:
        case "string":
            return "false"
        case "integer":
            return f"NOT regexp_full_match({text}, '-?\\d+') OR {value} IS NULL"
        case "boolean":
            return f"{text} NOT IN ('true', 'false')"
        case "timestamp_ms":
            return f"NOT regexp_full_match({text}, '-?\\d+') OR TRY_CAST({text} AS BIGINT) IS NULL"
        case "timestamp":
            return wrong_time(field, text)
        case "double":
            return f"NOT regexp_full_match({text}, '{_DOUBLE}') OR NOT coalesce(isfinite({value}), false)"
    raise AssertionError(f"{field.type}: a list is not made of plain text")


def decimal_digits(field: EventField) -> str:
    """The regular expression of a decimal that fits: no rounding, no overflow."""
    assert field.decimal
    precision, scale = field.decimal
    fraction = rf"(\.\d{{1,{scale}}})?" if scale else ""
    return rf"-?\d{{1,{max(precision - scale, 1)}}}{fraction}"


def wrong_time(field: EventField, text: str) -> str:
    """Whether a text is no moment of ISO 8601 with its offset from UTC."""
    return f"NOT regexp_full_match({text}, '{_ISO_8601}') OR {value_of(field, text)} IS NULL"


def text_cell(field: EventField, text: str) -> Cell:
    """A field whose whole truth is a text, NULL where there is none."""
    present = f"{text} IS NOT NULL"
    return Cell(text, value_of(field, text), f"{text} IS NULL", present, wrong_text(field, text))


def typed_text(field: EventField, text: str) -> str:
    """SQL: the value of a text, NULL where the text is NULL or of another type."""
    return f"CASE WHEN NOT ({wrong_text(field, text)}) THEN {value_of(field, text)} END"
