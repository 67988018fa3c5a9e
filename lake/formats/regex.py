"""A regular expression: a record is a line that it matches as a whole, its named groups are the fields.

Invariant: time is linear in the record's length, whatever a producer sends, since RE2 never backtracks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from lake.expressions import nearest
from lake.fields import EventField
from lake.formats.format import Decoder, Format, literal, refuse_lists
from lake.formats.typed import text_cell

# What may hold a parenthesis that is none, then what opens a group that captures.
_TOKEN = re.compile(
    r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|(?P<group>\((?!\?)|\(\?P<(?P<name>[^>]*)>)", re.DOTALL
)
_WHOLE = "_whole"


class Regex(Format):
    """RE2 with a named group `(?P<field>...)` for each field. A group that matches nothing, or is empty, is NULL."""

    word = "regex"

    pattern: str

    @classmethod
    def long_form(cls, options: Any) -> Any:
        return {"pattern": options} if isinstance(options, str) else options

    def fitted(self, fields: Mapping[str, EventField]) -> Regex:
        refuse_lists(fields, "regex")
        groups = [name for name in self._groups() if not name.startswith("_")]
        if extra := next((name for name in groups if name not in fields), None):
            raise ValueError(f"group '{extra}' is no field; {nearest(extra, fields)}")
        if lost := next((name for name in fields if name not in groups), None):
            raise ValueError(f"field '{lost}' has no group (?P<{lost}>...); {nearest(lost, groups)}")
        try:
            # By itself too: the pattern is put into parentheses, which must not close one of its own.
            for pattern in (literal(self.pattern), self._anchored()):
                duckdb.execute(f"SELECT regexp_matches('', {pattern})").fetchall()
            duckdb.execute(f"SELECT {self._extract(literal(''))}").fetchall()
        except duckdb.Error as error:
            raise ValueError(f"RE2 refuses the pattern: {str(error).splitlines()[0]}") from None
        return self

    def decoder(self, fields: Mapping[str, EventField]) -> Decoder:
        # Nothing extracted is '' too, so whether the pattern matches '' is asked apart; a constant.
        unmatched = f"_groups['{_WHOLE}'] <> _text OR (_text = '' AND NOT regexp_matches('', {self._anchored()}))"
        return Decoder(
            cells={name: text_cell(field, f"nullif(_groups['{name}'], '')") for name, field in fields.items()},
            before={"_groups": self._extract("_text")},
            shapes=((unmatched, "no_match"),),
            after={"_matched": "true"},
        )

    def _extract(self, text: str) -> str:
        names = ", ".join(literal(name) for name in [_WHOLE, *self._groups()])
        return f"regexp_extract({text}, {self._anchored()}, [{names}])"

    def _anchored(self) -> str:
        return literal(rf"\A((?:{self.pattern}))\z")

    def _groups(self) -> Iterator[str]:
        """The names of the groups that capture, in order; those without one begin with _."""
        found = (match for match in _TOKEN.finditer(self.pattern) if match["group"])
        for number, match in enumerate(found, start=1):
            yield f"_{number}" if match["name"] is None else match["name"]
