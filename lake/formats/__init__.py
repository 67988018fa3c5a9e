"""The formats that a domain's records may have: one module each, found by the word for it in a domain file.

Invariant: a Format that `read_format` returns fits the fields it was given; what does not is said with the fix.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from lake.domain_errors import Mistakes, mistakes_of
from lake.expressions import nearest
from lake.fields import EventField
from lake.formats.csv import Csv
from lake.formats.format import Cell, Decoder, Format
from lake.formats.json import Json
from lake.formats.regex import Regex
from lake.formats.text import Text

__all__ = ["FORMATS", "Cell", "Csv", "Decoder", "Format", "Json", "Regex", "Text", "read_format"]

FORMATS: dict[str, type[Format]] = {kind.word: kind for kind in (Json, Csv, Regex, Text)}
"""Every format, by the word that declares it."""


def read_format(declared: object, fields: Mapping[str, EventField]) -> Format:
    """What `format:` says: a word, `{csv: {delimiter: ";"}}` or `{regex: '...'}`. Raises ValueError with the fix."""
    if isinstance(declared, Format):
        return declared.fitted(fields)
    if isinstance(declared, str):
        declared = {declared: {}}
    if not isinstance(declared, dict) or len(declared) != 1:
        raise ValueError(f"expected one of {', '.join(FORMATS)}, such as csv or {{regex: '...'}}, found {declared!r}")
    [(word, options)] = declared.items()
    if word not in FORMATS:
        raise ValueError(f"'{word}' is no format; {nearest(str(word), FORMATS)}")
    kind = FORMATS[word]
    try:
        return kind.model_validate(kind.long_form(options)).fitted(fields)
    except ValidationError as error:
        raise Mistakes(mistake.below(word) for mistake in mistakes_of(error, kind)) from None
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from None
