"""Where dimensions are loaded from every day: TIDEMARK_DIMENSION_SOURCES, read and checked.

Invariant: no source holds a password; those come from the environment of the worker (PGPASSWORD), as for psql.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lake.errors import BadSettings

NO_PASSWORD = r"^(?!.*://[^/@]*:[^@]*@)(?!.*[?&]password=)\S+$"
"""A pattern that no source with a password in it matches; forms refuse what it refuses."""


@dataclass(frozen=True)
class Source:
    """A file that the worker can read, or postgresql://user@host/database; table None: the dimension's own name."""

    address: str
    table: str | None = None


def read_sources(text: str) -> dict[str, Source]:
    """`users=postgresql://me@host/shop#customers plates=/data/plates.csv`. Raises BadSettings, quoting no password."""
    found: dict[str, Source] = {}
    for part in text.split():
        name, equals, rest = part.partition("=")
        address, _, table = rest.partition("#")
        if not equals or not name.isidentifier() or not address:
            raise BadSettings(
                f"TIDEMARK_DIMENSION_SOURCES: '{name}' names no source; write NAME=SOURCE or NAME=SOURCE#TABLE, "
                "spaces between"
            )
        if not re.match(NO_PASSWORD, address):
            raise BadSettings(
                f"TIDEMARK_DIMENSION_SOURCES: the source of '{name}' holds a password; take it out and "
                "give it to the workers as PGPASSWORD"
            )
        found[name] = Source(address, table or None)
    return found
