"""What a domain has besides its own events: dimensions that are joined, other domains' events, a key of repeats."""

from __future__ import annotations

from pydantic import Field, ValidationError, model_validator

from lake.domain_errors import Mistake, Mistakes
from lake.fields import EventField, Name, Strict


class Dimension(Strict):
    """A table that comes in versions, such as the users; its columns are `users.country` in the views.

    A row is joined where the dimension's key equals `on`, an expression over the event; without one, all are NULL.
    """

    on: str
    columns: dict[Name, str] = Field(min_length=1)
    description: str = ""
    owner: str = ""

    @model_validator(mode="after")
    def _check(self) -> Dimension:
        columns = self.columns.items()
        if found := [Mistake(("columns", name), said) for name, kind in columns if (said := _wrong(name, kind))]:
            raise Mistakes(found)
        return self


def _wrong(name: str, kind: str) -> str | None:
    """Why a dimension cannot have such a column, if it cannot."""
    if name in ("key", "version"):
        return f"'{name}' is a column that every dimension has; rename it"
    try:
        field = EventField(type=kind)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    plain = not field.item and not field.strptime
    return None if plain else f"a dimension's column cannot be a {kind}; use a string or a number"


class Dedup(Strict):
    """Events with the same `key` are one: the first. Looked for in the same partition, within `segments` segments.

    An event is a duplicate if the good event with its key before it, duplicate or not, stands in its segment or one of
    the `segments` - 1 before. One with another payload is no duplicate but a conflict, which goes to quarantine.
    Producers must partition by the key.
    """

    key: str
    segments: int = Field(ge=1, le=10_000)


class Source(Strict):
    """A topic that feeds this one: the events of another domain for which `where` holds, their bytes untouched.

    Without `key` an event keeps its key, so events of one key stay in order; with it, they are partitioned anew.
    """

    domain: Name
    where: str | None = None
    key: str | None = None
