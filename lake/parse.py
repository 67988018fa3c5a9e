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
from lake.formats.typed import LAST_MS, typed_text

__all__ = ["MARKER", "MARKER_HEADER", "outside_reason", "parse_sql", "typed_text", "usable"]

MARKER_HEADER = "tidemark-marker"
MARKER = "marker"


def parse_sql(domain: Domain, source: str) -> str:
    """SELECT over `source` (raw's columns): its columns, `reason`, `flaws`, and every field, NULL where it is bad."""
    decoder = domain.format.decoder(domain.fields)
    columns, verdicts, fatal, optional = [], {}, ["_shape"], []
    for name, field in domain.fields.items():
        cell = decoder.cells[name]
        columns.append(f'{cell.value} AS "{name}"')
        tests = [(cell.missing, f"missing:{name}")] if field.required else []
        tests.append((f"{cell.present} AND ({cell.wrong})", f"wrong_type:{name}"))
        if outside := _outside(field, name, cell.text):
            tests.append((f"{cell.present} AND ({outside})", f"{outside_reason(field)}:{name}"))
        verdict = f'":verdict {name}"'
        cases = " ".join(f"WHEN {test} THEN '{reason}'" for test, reason in tests)
        verdicts[verdict] = f"CASE {cases} END"
        if field.required:
            fatal.append(verdict)
        else:
            optional.append(f"CASE WHEN {verdict} IS NULL THEN 0 ELSE {1 << _bit(domain, name)} END")
    fields = ", ".join(f'"{name}"' for name in domain.fields)
    decoded = f"SELECT *, TRY(decode(value)) AS _text FROM {source}"
    if decoder.before:
        # By itself, so that it is computed once, though it is asked for more than once.
        before = ", ".join(f"{sql} AS {name}" for name, sql in decoder.before.items())
        decoded = f"SELECT *, {before} FROM ({decoded})"
    shapes = [f"WHEN {condition} THEN '{reason}'" for condition, reason in decoder.shapes]
    after = {name: f"CASE WHEN _shape IS NULL THEN {sql} END" for name, sql in decoder.after.items()}
    # What one table expression is made of is computed once, in the one before it; what one SELECT names twice, twice.
    made, read, steps = ["_text", *decoder.before], "shaped", ""
    for number, step in enumerate([{name: name for name in decoder.before} | after, *decoder.steps], start=1):
        of_step = "".join(f", {sql} AS {name}" for name, sql in step.items())
        steps += f"step{number} AS (SELECT * EXCLUDE ({', '.join(made)}){of_step} FROM {read}),\n"
        made, read = [*step], f"step{number}"
    judged = ", ".join(f"{sql} AS {verdict}" for verdict, sql in verdicts.items())
    return f"""
WITH decoded AS ({decoded}),
shaped AS (SELECT *,
    CASE WHEN value IS NULL THEN
             CASE WHEN len(list_filter(headers, lambda header: header.key = '{MARKER_HEADER}')) > 0
                  THEN '{MARKER}' ELSE 'null_value' END
         WHEN _text IS NULL THEN 'bad_utf8'
         {" ".join(shapes)} END AS _shape
    FROM decoded),
{steps}typed AS (SELECT *, {", ".join(columns)} FROM {read}),
judged AS (SELECT * EXCLUDE ({", ".join(made)}), {judged} FROM typed),
reasoned AS (SELECT *, coalesce({", ".join(["_shape", *verdicts])}) AS reason FROM judged)
SELECT * EXCLUDE ({", ".join(["_shape", fields, *verdicts, "reason"])}), reason,
    CASE WHEN reason IS NULL THEN 0::BIGINT
         WHEN coalesce({", ".join(fatal)}) IS NULL THEN {" | ".join(["0::BIGINT", *optional])} ELSE 1 END AS flaws,
    {fields} FROM reasoned"""


def usable(domain: Domain, columns: Collection[str]) -> str:
    """SQL: whether a view that uses these columns may use the record."""
    bits = {_bit(domain, name) for name in columns if name in domain.fields and not domain.fields[name].required}
    return f"flaws & {1 | reduce(or_, (1 << bit for bit in bits), 0)} = 0"


def _bit(domain: Domain, name: str) -> int:
    """An optional field's bit; those beyond the 62nd share the last one."""
    optional = [n for n, field in domain.fields.items() if not field.required]
    return min(1 + optional.index(name), 62)


def _outside(field: EventField, name: str, text: str) -> str:
    """Whether a value of the right type is not an allowed one."""
    if field.values is not None:
        allowed = ", ".join("'" + v.replace("'", "''") + "'" for v in field.values)
        return f"{text} NOT IN ({allowed})"
    number = f"TRY_CAST({text} AS DOUBLE)"
    tests = []
    if field.type == "timestamp_ms":
        tests.append(f'"{name}" IS NULL')
    if field.type == "timestamp" or field.strptime:
        number = f'epoch_ms("{name}")'
        tests.append(f"{number} NOT BETWEEN 0 AND {LAST_MS}")
    if field.min is not None:
        tests.append(f"{number} < {field.min}")
    if field.max is not None:
        tests.append(f"{number} > {field.max}")
    return " OR ".join(tests)


def outside_reason(field: EventField) -> str:
    """The reason code of a value that has the right type but is not allowed."""
    return "not_allowed" if field.values is not None else "out_of_range"
