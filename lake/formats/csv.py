"""CSV: a record is one line of RFC 4180, its cells the fields in the declared order.

Invariant: a record that is accepted has the cells that Python's csv module finds in it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from lake.expressions import nearest
from lake.fields import EventField, Name
from lake.formats.format import Decoder, Format, refuse_lists
from lake.formats.typed import text_cell


class Csv(Format):
    """One CSV line a record, with or without its line break; quotes as in RFC 4180, so a quoted cell may hold breaks.

    An empty cell is NULL, a quoted empty one the empty string. `columns` are the cells' names, by default the fields as
    declared; those that are no field are skipped. `header`: files of this format begin with a line of column names,
    which `tidemark import` compares with `columns` and does not send.
    """

    word = "csv"

    delimiter: str = ","
    header: bool = False
    columns: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Csv:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ValueError(f"delimiter {self.delimiter!r} must be one character, no quote and no line break")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns: a name stands twice in {', '.join(self.columns)}")
        return self

    def fitted(self, fields: Mapping[str, EventField]) -> Csv:
        refuse_lists(fields, "csv")
        columns = self.columns or tuple(fields)
        if lost := next((name for name in fields if name not in columns), None):
            raise ValueError(f"columns: field '{lost}' is none of them; {nearest(lost, columns)}")
        return self.model_copy(update={"columns": columns})

    def decoder(self, fields: Mapping[str, EventField]) -> Decoder:
        positions = {name: index for index, name in enumerate(self.columns, start=1)}
        return Decoder(
            cells={name: text_cell(field, f"_texts[{positions[name]}]") for name, field in fields.items()},
            before={"_cells": self._split()},
            shapes=(("_cells IS NULL", "bad_csv"), (f"len(_cells) <> {len(self.columns)}", "wrong_columns")),
            after={"_texts": f"list_transform(_cells, lambda cell: {_UNQUOTED})"},
        )

    def _split(self) -> str:
        """The cells of `_text`, quotes and all; NULL where it is not one line of CSV."""
        end = f"\\x{{{ord(self.delimiter):x}}}"
        cell = rf'"(?:[^"]|"")*"|[^"\r\n{end}]*'
        line = rf"(?:{cell})(?:{end}(?:{cell}))*(?:\r?\n)?"
        delimiter = f"chr({ord(self.delimiter)})"
        stripped = r"CASE WHEN ends_with(_text, chr(10)) THEN regexp_replace(_text, '\r?\n\z', '') ELSE _text END"
        return (
            rf"""CASE WHEN NOT regexp_matches(_text, '["\r\n]') THEN string_split(_text, {delimiter}) """
            f"WHEN regexp_full_match(_text, '{line}') "
            f"THEN list_transform(regexp_extract_all(({stripped}) || {delimiter}, '(?:{cell}){end}'), "
            "lambda cell: substr(cell, 1, length(cell) - 1)) END"
        )


_UNQUOTED = """CASE WHEN starts_with(cell, '"') THEN replace(substr(cell, 2, length(cell) - 2), '""', '"')
    WHEN cell <> '' THEN cell END"""
