"""Values as people read them: bytes as text, lists of counts as `value: count`, ages, offsets by partition."""

from __future__ import annotations

from datetime import timedelta

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


def vector(cut: dict[int, int]) -> str:
    """(partition: offset, ...)."""
    return "(" + ", ".join(f"{partition}: {offset:,}" for partition, offset in sorted(cut.items())) + ")"


def ago(age: timedelta) -> str:
    """An age in the unit that tells it in few digits."""
    seconds = max(age.total_seconds(), 0)
    if seconds < 10:
        return f"{seconds:.1f} s ago"
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days ago"


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
