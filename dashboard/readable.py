"""Values as people read them in a table: bytes as text, lists of counts as `value: count`."""

from __future__ import annotations

import pyarrow as pa


def readable(rows: pa.Table) -> pa.Table:
    """Bytes as text, with what is no UTF-8 escaped; nested values as text."""
    for index, column in enumerate(rows.schema):
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            text = [v if v is None else v.decode(errors="backslashreplace") for v in rows[index].to_pylist()]
        elif pa.types.is_nested(column.type):
            text = [v if v is None else _nested(v) for v in rows[index].to_pylist()]
        else:
            continue
        rows = rows.set_column(index, column.name, pa.array(text, pa.string()))
    return rows


def _nested(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_nested, value))
    if isinstance(value, dict):
        if list(value) == ["up_to", "count"]:
            return f"{'above' if value['up_to'] is None else 'up to ' + format(value['up_to'], 'g')}: {value['count']}"
        if list(value) == ["value", "count"]:
            return f"{value['value']}: {value['count']}"
        return ", ".join(f"{name}: {_nested(inner)}" for name, inner in value.items())
    return str(value)
