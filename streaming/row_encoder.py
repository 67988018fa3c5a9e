"""Rows of a table as the values of a domain's events.

Invariant: a value that says just what its field wants becomes that; any other stays a text, which the kernel judges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from lake.domain import Domain
from lake.fields import EventField
from lake.formats import Csv

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)


def row_encoder(domain: Domain) -> Callable[[dict[str, Any]], bytes]:
    """A row, by its columns' names, as a record of a domain whose format is json or csv."""
    form = domain.format
    return _csv_encoder(form, domain.fields) if isinstance(form, Csv) else _json_encoder(domain.fields)


def _json_encoder(fields: Mapping[str, EventField]) -> Callable[[dict[str, Any]], bytes]:
    """A row as a JSON object: values as their fields want them, empty ones left out."""

    def encode(row: dict[str, Any]) -> bytes:
        event = {name: _json_value(value, fields.get(name)) for name, value in row.items() if value not in (None, "")}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    return encode


def _json_value(value: Any, field: EventField | None) -> Any:
    kind = field.type if field else "string"
    if isinstance(value, str):
        return _json_text(value, kind)
    if isinstance(value, datetime):
        return _moment(value, field)
    if isinstance(value, list):
        return [_json_value(item, None) for item in value]
    if isinstance(value, dict):
        return {name: _json_value(item, None) for name, item in value.items()}
    if isinstance(value, float) and value - value != 0:
        return str(value)  # JSON has no NaN: as a text it is wrong in its field, and nowhere else
    return value if isinstance(value, bool | int | float) else _text(value)


def _json_text(text: str, kind: str) -> Any:
    """A text that says just what its field wants becomes that; any other stays a text, and is judged as one."""
    if kind in ("integer", "timestamp_ms") and _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else text
    if kind == "double" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind.startswith("list(") and text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _moment(value: datetime, field: EventField | None) -> Any:
    """A time of a Parquet file, UTC if it has no zone, as its field wants it."""
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    if field and field.type == "timestamp_ms":
        return round(moment.timestamp() * 1000)
    return moment.strftime(field.strptime) if field and field.strptime else moment.isoformat(timespec="microseconds")


def _csv_encoder(form: Csv, fields: Mapping[str, EventField]) -> Callable[[dict[str, Any]], bytes]:
    """A row as a line of the domain's CSV: NULL is an empty cell, the empty string a quoted one."""

    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        text = str(_moment(value, fields.get(name))) if isinstance(value, datetime) else _text(value)
        special = not text or any(c in text for c in f'{form.delimiter}"\r\n')
        return '"' + text.replace('"', '""') + '"' if special else text

    return lambda row: form.delimiter.join(cell(name, row.get(name)) for name in form.columns).encode()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, date | time):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)
