"""Plain text: a record is one string."""

from __future__ import annotations

from collections.abc import Mapping

from lake.fields import EventField
from lake.formats.format import Decoder, Format
from lake.formats.typed import text_cell


class Text(Format):
    """The whole record is the one field, a string, line breaks and all; an empty record is the empty string."""

    word = "text"

    def fitted(self, fields: Mapping[str, EventField]) -> Text:
        if [field.type for field in fields.values()] != ["string"]:
            found = ", ".join(f"{name}: {field.type}" for name, field in fields.items()) or "none"
            raise ValueError(f"the whole record is one field, a string; found {found}. csv and regex have several")
        return self

    def decoder(self, fields: Mapping[str, EventField]) -> Decoder:
        return Decoder(
            cells={name: text_cell(field, "_line") for name, field in fields.items()}, after={"_line": "_text"}
        )
