"""Compiles a domain's fields to the SQL that tells good records from bad ones.

Invariant: every record gets exactly one verdict: good (`reason` NULL), a marker, or bad with the first reason that
holds, in the order below. Nothing a producer can send makes the query fail.

`flaws` has bit 0 set where no view may use the record (no event, or a required field is bad), and a bit of its own for
each optional field whose value is bad: that keeps the record out of the views that use the field, and no others. So
declaring one more optional field changes no view that does not use it.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import or_

from lake.domain import Domain
from lake.fields import EventField

MARKER_HEADER = "tidemark-marker"
MARKER = "marker"
# 9999-12-31T23:59:59.999Z: the last moment that every engine we carry data through can hold.
_LAST_MS = 253_402_300_799_999
_ISO_8601 = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})"
_INTEGER = "('UBIGINT', 'BIGINT')"
_NUMBER = "('UBIGINT', 'BIGINT', 'DOUBLE')"


def parse_sql(domain: Domain, source: str) -> str:
    """SELECT over `source` (raw's columns): its columns, `reason`, `flaws`, and every field, NULL where it is bad."""
    paths = "[" + ", ".join(f"'$.{name}'" for name in domain.fields) + "]"
    columns, reasons, fatal, optional = [], [], [], []
    for index, (name, field) in enumerate(domain.fields.items(), start=1):
        kind, text = f"kinds[{index}]", f"texts[{index}]"
        value, wrong_type = _typed(field, kind, text)
        columns.append(f'{value} AS "{name}"')
        tests = [(f"{kind} IS NULL OR {kind} = 'NULL'", f"missing:{name}")] if field.required else []
        tests.append((f"{kind} <> 'NULL' AND ({wrong_type})", f"wrong_type:{name}"))
        if outside := _outside(field, name, text):
            tests.append((f"{kind} <> 'NULL' AND ({outside})", f"{outside_reason(field)}:{name}"))
        reasons += [f"WHEN {condition} THEN '{reason}'" for condition, reason in tests]
        bad = " OR ".join(f"({condition})" for condition, _ in tests)
        if field.required:
            fatal.append(bad)
        else:
            optional.append(f"CASE WHEN {bad} THEN {1 << _bit(domain, name)} ELSE 0 END")
    fields = ", ".join(f'"{name}"' for name in domain.fields)
    any_fatal = " OR ".join(["shape IS NOT NULL", *fatal])
    return f"""
WITH decoded AS (SELECT *, TRY(decode(value)) AS text FROM {source}),
shaped AS (SELECT * EXCLUDE (text),
    CASE WHEN value IS NULL THEN
             CASE WHEN len(list_filter(headers, lambda header: header.key = '{MARKER_HEADER}')) > 0
                  THEN '{MARKER}' ELSE 'null_value' END
         WHEN text IS NULL THEN 'bad_utf8'
         WHEN NOT json_valid(text) THEN 'bad_json'
         WHEN json_type(text) <> 'OBJECT' THEN 'not_an_object' END AS shape,
    CASE WHEN shape IS NULL THEN json_type(text, {paths}) END AS kinds,
    CASE WHEN shape IS NULL THEN json_extract_string(text, {paths}) END AS texts
    FROM decoded),
typed AS (SELECT * EXCLUDE (shape, kinds, texts),
    {", ".join(columns)},
    CASE WHEN {any_fatal} THEN 1 ELSE {" | ".join(["0::BIGINT", *optional])} END AS flaws,
    CASE WHEN shape IS NOT NULL THEN shape {" ".join(reasons)} END AS reason
    FROM shaped)
SELECT * EXCLUDE (reason, flaws, {fields}), reason, flaws, {fields} FROM typed"""


def usable(domain: Domain, columns: Collection[str]) -> str:
    """SQL: whether a view that uses these columns may use the record."""
    bits = {_bit(domain, name) for name in columns if name in domain.fields and not domain.fields[name].required}
    return f"flaws & {1 | reduce(or_, (1 << bit for bit in bits), 0)} = 0"


def _bit(domain: Domain, name: str) -> int:
    """An optional field's bit; those beyond the 62nd share the last one."""
    optional = [n for n, field in domain.fields.items() if not field.required]
    return min(1 + optional.index(name), 62)


def _typed(field: EventField, kind: str, text: str) -> tuple[str, str]:
    """(the field's value, whether it is of another type), both SQL; strict, since DuckDB's casts round and guess."""
    if field.decimal:
        precision, scale = field.decimal
        fraction = rf"(\.\d{{1,{scale}}})?" if scale else ""
        digits = rf"-?\d{{1,{max(precision - scale, 1)}}}{fraction}"
        # A JSON number passes through a double, which is exact only up to 15 digits.
        kinds = "('VARCHAR')" if precision > 15 else "('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE')"
        value = f"TRY_CAST({text} AS DECIMAL({precision}, {scale}))"
        return value, f"{kind} NOT IN {kinds} OR NOT regexp_full_match({text}, '{digits}') OR {value} IS NULL"
    match field.type:
        case "string":
            return text, f"{kind} <> 'VARCHAR'"
        case "integer":
            value = f"TRY_CAST({text} AS BIGINT)"
            return value, f"{kind} NOT IN {_INTEGER} OR {value} IS NULL"
        case "boolean":
            return f"TRY_CAST({text} AS BOOLEAN)", f"{kind} <> 'BOOLEAN'"
        case "timestamp_ms":
            number = f"TRY_CAST({text} AS BIGINT)"
            value = f"CASE WHEN {number} BETWEEN 0 AND {_LAST_MS} THEN make_timestamp_ms({number}) END"
            return value, f"{kind} NOT IN {_INTEGER}"
        case "timestamp":
            # A cast to TIMESTAMP would silently drop the offset from UTC.
            value = f"(TRY_CAST({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
            return value, (f"{kind} <> 'VARCHAR' OR NOT regexp_full_match({text}, '{_ISO_8601}') OR {value} IS NULL")
        case "list(string)" | "list(integer)":
            items = "VARCHAR" if field.item == "string" else "BIGINT"
            value = f"TRY_CAST(TRY_CAST({text} AS JSON) AS {items}[])"
            wrong = f"json_type({text}, '$[*]')"
            allowed = "['VARCHAR']" if field.item == "string" else "['UBIGINT', 'BIGINT']"
            return value, f"{kind} <> 'ARRAY' OR NOT list_has_all({allowed}, {wrong}) OR {value} IS NULL"
        case "double":
            # + 0.0 makes -0.0 and 0.0 one value.
            value = f"(TRY_CAST({text} AS DOUBLE) + 0.0)"
            return value, f"{kind} NOT IN {_NUMBER} OR NOT coalesce(isfinite({value}), false)"
    raise AssertionError(field.type)


def _outside(field: EventField, name: str, text: str) -> str:
    """Whether a value of the right type is not an allowed one."""
    if field.values is not None:
        allowed = ", ".join("'" + v.replace("'", "''") + "'" for v in field.values)
        return f"{text} NOT IN ({allowed})"
    number = f"TRY_CAST({text} AS DOUBLE)"
    tests = []
    if field.type == "timestamp_ms":
        tests.append(f'"{name}" IS NULL')
    if field.type == "timestamp":
        number = f'epoch_ms("{name}")'
        tests.append(f"{number} NOT BETWEEN 0 AND {_LAST_MS}")
    if field.min is not None:
        tests.append(f"{number} < {field.min}")
    if field.max is not None:
        tests.append(f"{number} > {field.max}")
    return " OR ".join(tests)


def outside_reason(field: EventField) -> str:
    """The reason code of a value that has the right type but is not allowed."""
    return "not_allowed" if field.values is not None else "out_of_range"
