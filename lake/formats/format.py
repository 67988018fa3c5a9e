"""What a format is: how the text of a record says the fields, as SQL.

Invariant: `Decoder` is total. Whatever text a producer sends either has one of the reasons of `shapes`, or every cell
of it can be judged; no fragment raises an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import model_serializer

from lake.fields import EventField, Strict


@dataclass(frozen=True)
class Cell:
    """One field of a record, all SQL: its text, its typed value, and three tests.

    `missing`: it is not there, or null; `present`: it is there; `wrong`: where it is there, it is of another type.
    """

    text: str
    value: str
    missing: str
    present: str
    wrong: str


@dataclass(frozen=True)
class Decoder:
    """A format for a domain's fields, as SQL over the column `_text`, a record as a string.

    `before` are columns made of any text; `shapes` are (condition, reason) over them, the first that holds being the
    record's; `after` are columns made where none holds, and NULL elsewhere. `steps` are made of those one after the
    other, each mapping of the columns of the one before, so that nothing is computed twice. Columns begin with _, as no
    field does. `cells` read the last ones.
    """

    cells: Mapping[str, Cell]
    before: Mapping[str, str] = field(default_factory=dict)
    shapes: tuple[tuple[str, str], ...] = ()
    after: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Mapping[str, str], ...] = ()


class Format(Strict):
    """How the bytes of a record, which are UTF-8, say its fields. `word` is the one that declares it."""

    word: ClassVar[str]

    @classmethod
    def long_form(cls, options: Any) -> Any:
        """The options as a mapping, where a file may say them shorter."""
        return options

    def __str__(self) -> str:
        return f"{self.word} {self._options()}" if self._options() else self.word

    @model_serializer
    def _declared(self) -> dict[str, Any]:
        """As a domain file says it."""
        return {self.word: self._options()}

    def _options(self) -> dict[str, Any]:
        """Those that differ from the default, in JSON's types."""
        options = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}

    def fitted(self, fields: Mapping[str, EventField]) -> Format:
        """This format for these fields, what it leaves open filled in. Raises ValueError where they do not fit."""
        return self

    def decoder(self, fields: Mapping[str, EventField]) -> Decoder:
        """For the fields it was fitted to, or some of them."""
        raise NotImplementedError


def refuse_lists(fields: Mapping[str, EventField], word: str) -> None:
    """Raise ValueError if a field is a list, which a format of plain texts cannot say."""
    for name, declared in fields.items():
        if declared.item:
            raise ValueError(
                f"field '{name}' is a {declared.type}, which {word} cannot say; declare it a string and split it "
                f"in the view: each: {{item: \"string_split({name}, ' ')\"}}"
            )


def literal(text: str) -> str:
    """SQL: a string constant."""
    return "'" + text.replace("'", "''") + "'"
