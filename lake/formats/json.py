"""JSON: a record is one object, its fields are the object's, and what else is in it stays in raw."""

from __future__ import annotations

from collections.abc import Mapping

from lake.fields import EventField
from lake.formats.format import Cell, Decoder, Format
from lake.formats.typed import decimal_digits, value_of, wrong_time

_INTEGER = "('UBIGINT', 'BIGINT')"
_NUMBER = "('UBIGINT', 'BIGINT', 'DOUBLE')"
# Of what is JSON, only an object can begin so; nearly every record does, and need not be parsed once more.
_NO_OBJECT = "CASE WHEN starts_with(_text, '{') THEN false ELSE json_type(_text) <> 'OBJECT' END"


class Json(Format):
    """One JSON object a record. A value must have the JSON type of its field; null is as good as absent."""

    word = "json"

    def decoder(self, fields: Mapping[str, EventField]) -> Decoder:
        paths = "[" + ", ".join(f"'$.{name}'" for name in fields) + "]"
        lists = {"_kinds": f"json_type(_object, {paths})", "_texts": f"json_extract_string(_object, {paths})"}
        # Tests name a kind more than once, and an element is taken out of its list each time that it is named.
        apart = {f"_{of}_{index}": f"_{of}s[{index}]" for of in ("kind", "text") for index in range(1, len(fields) + 1)}
        return Decoder(
            cells={name: _cell(field, index) for index, (name, field) in enumerate(fields.items(), start=1)},
            shapes=(("NOT json_valid(_text)", "bad_json"), (_NO_OBJECT, "not_an_object")),
            after={"_object": "_text"},
            steps=(lists, apart),
        )


def _cell(field: EventField, index: int) -> Cell:
    kind, text = f"_kind_{index}", f"_text_{index}"
    missing, present = f"{kind} IS NULL OR {kind} = 'NULL'", f"{kind} <> 'NULL'"
    return Cell(text, value_of(field, text), missing, present, _wrong(field, kind, text))


def _wrong(field: EventField, kind: str, text: str) -> str:
    value = value_of(field, text)
    if field.decimal:
        # A JSON number passes through a double, which is exact only up to 15 digits.
        kinds = "('VARCHAR')" if field.decimal[0] > 15 else "('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE')"
        return f"{kind} NOT IN {kinds} OR NOT regexp_full_match({text}, '{decimal_digits(field)}') OR {value} IS NULL"
    if field.strptime:
        return f"{kind} <> 'VARCHAR' OR {value} IS NULL"
    match field.type:
        case "string":
            return f"{kind} <> 'VARCHAR'"
        case "integer":
            return f"{kind} NOT IN {_INTEGER} OR {value} IS NULL"
        case "boolean":
            return f"{kind} <> 'BOOLEAN'"
        case "timestamp_ms":
            return f"{kind} NOT IN {_INTEGER}"
        case "timestamp":
            return f"{kind} <> 'VARCHAR' OR {wrong_time(field, text)}"
        case "double":
            return f"{kind} NOT IN {_NUMBER} OR NOT coalesce(isfinite({value}), false)"
    allowed = "['VARCHAR']" if field.item == "string" else "['UBIGINT', 'BIGINT']"
    return f"{kind} <> 'ARRAY' OR NOT list_has_all({allowed}, json_type({text}, '$[*]')) OR {value} IS NULL"
