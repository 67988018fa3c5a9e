"""What commands print: tables for people, one JSON document for programs.

Invariant: nothing is cut off where the output is no terminal; times are ISO 8601 in UTC.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from datetime import date, datetime

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lake.cuts import format_time


def console() -> Console:
    """As wide as the terminal; wide enough for a head where there is none, so that nothing is cut in a log."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def plain(value: object) -> object:
    """A value as JSON or text has it: times as ISO 8601, bytes as UTF-8 where they are, else as hex."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, datetime) and value.tzinfo:
        return format_time(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, int | float | str) else str(value)


def print_json(document: object) -> None:
    """One document on one line."""
    print(json.dumps(document, default=plain, ensure_ascii=False))


def print_table(columns: Collection[str], rows: Iterable[Iterable[object]], title: str | None = None) -> None:
    """A table for people; None is an empty cell."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(plain(value))) for value in row))
    console().print(table)


def print_rows(rows: pa.Table, as_json: bool) -> None:
    """The rows of a query."""
    if as_json:
        print_json(rows.to_pylist())
        return
    table = Table(*rows.column_names)
    for row in rows.to_pylist():
        table.add_row(*(escape(str(plain(value))) for value in row.values()))
    console().print(table)
    print(f"{len(rows)} rows")
