"""A domain file, read and checked: its events' fields, its dimensions and the views declared on them.

Invariant: a Domain that exists is valid; whatever is wrong in the YAML is said with file, field and fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from lake import expressions
from lake.domain_errors import sentence
from lake.errors import BadDomain
from lake.expressions import nearest
from lake.fields import RESERVED, EventField, Name, Strict
from lake.view import View, check_view

APPEND_TIME = "append_time"


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
        for name, kind in self.columns.items():
            try:
                field = EventField(type=kind)
            except ValidationError as error:
                raise ValueError(f"columns.{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
            if field.item:
                raise ValueError(f"columns.{name}: a dimension's column cannot be a {kind}; use a string or a number")
        return self


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


class Domain(Strict):
    """One kind of business event: topic, fields, views."""

    domain: Name
    description: str = ""
    owner: str = ""
    topic: str
    partitions: int = Field(4, ge=1, le=4096)
    format: Literal["json"] = "json"
    event_time: str
    fields: dict[Name, EventField]
    dedup: Dedup | None = None
    dimensions: dict[Name, Dimension] = {}
    sources: tuple[Source, ...] = ()
    views: dict[Name, View]

    @property
    def name(self) -> str:
        return self.domain

    @property
    def stored_views(self) -> dict[str, View]:
        """The views whose states both layers keep; those over other views are computed at read."""
        return {name: view for name, view in self.views.items() if view.over is None}

    @property
    def columns(self) -> list[str]:
        """What an expression over an event may name."""
        joined = [f"{name}.{column}" for name, d in self.dimensions.items() for column in d.columns]
        return [*self.fields, APPEND_TIME, *joined]

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Short forms: the topic is the domain's name, a view knows its own name."""
        if not isinstance(data, dict):
            raise ValueError("a domain file is a mapping with domain, event_time, fields and views")
        data = {"topic": data.get("domain"), **data}
        views = data.get("views")
        if isinstance(views, dict):
            data["views"] = {
                name: {"name": name, **view} if isinstance(view, dict) else view for name, view in views.items()
            }
        return data

    @model_validator(mode="after")
    def _check(self) -> Domain:
        self._check_names()
        self._check_event_time()
        self._check_expressions()
        for view in self.views.values():
            try:
                check_view(view, self._columns_below(view))
            except ValueError as error:
                raise ValueError(f"views.{view.name}: {error}") from None
        return self

    def _check_names(self) -> None:
        for name in [*self.fields, *self.dimensions]:
            if name in RESERVED:
                raise ValueError(f"'{name}' is a column that every record has ({', '.join(RESERVED)}); rename it")
        for name in self.dimensions:
            if name in self.fields:
                raise ValueError(f"dimensions.{name}: there is a field of that name; rename one")

    def _check_event_time(self) -> None:
        if self.event_time == APPEND_TIME:
            return
        time = self.fields.get(self.event_time)
        if time is None:
            raise ValueError(f"event_time: '{self.event_time}' is no field; {nearest(self.event_time, self.fields)}")
        if not time.type.startswith("timestamp") or not time.required:
            raise ValueError(
                f"event_time: field '{self.event_time}' must be a required timestamp or timestamp_ms "
                f"(or say event_time: {APPEND_TIME}, when the broker got it)"
            )

    def _check_expressions(self) -> None:
        own = {f"dimensions.{name}.on": dimension.on for name, dimension in self.dimensions.items()}
        own |= {"dedup.key": self.dedup.key} if self.dedup else {}
        for place, expression in own.items():
            try:
                expressions.check(expression, [*self.fields, APPEND_TIME])
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None

    def _columns_below(self, view: View) -> list[str]:
        if view.over is None:
            return self.columns
        seen = [view.name]
        while (below := self.views[seen[-1]].over) is not None:
            if below not in self.views:
                raise ValueError(f"over: '{below}' is no view of this domain; {nearest(below, self.views)}")
            if below in seen:
                raise ValueError(f"over: {' over '.join([*seen, below])}: a view cannot be over itself")
            seen.append(below)
        return self.views[seen[1]].value_columns()


def load_domain(name: str, directory: Path) -> Domain:
    """The domain called `name`. Raises BadDomain, naming the file, every wrong field and the fix."""
    path = directory / f"{name}.yaml"
    if not path.exists():
        known = [p.stem for p in directory.glob("*.yaml")]
        raise BadDomain(f"{path} does not exist; {nearest(name, known)}")
    try:
        data = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadDomain(f"{path}: not YAML: {error}") from None
    return read_domain(data, str(path), name)


def read_domain(data: object, place: str, name: str | None = None) -> Domain:
    """A domain from what a file at `place` holds. Raises BadDomain; also if it is not called `name`."""
    try:
        domain = Domain.model_validate(data)
    except ValidationError as error:
        raise BadDomain("\n".join(f"{place}: {sentence(e, Domain)}" for e in error.errors())) from None
    if name is not None and domain.name != name:
        raise BadDomain(f"{place}: domain: '{domain.name}' must equal the file's name, '{name}'")
    return domain


def load_domains(directory: Path) -> dict[str, Domain]:
    """Every domain of a directory, by name. View names are unique over all, since SQL sees them side by side."""
    domains = {p.stem: load_domain(p.stem, directory) for p in sorted(directory.glob("*.yaml"))}
    owners: dict[str, str] = {}
    for domain in domains.values():
        for view in domain.views:
            if view in owners:
                raise BadDomain(
                    f"{directory}/{domain.name}.yaml: views.{view}: domain '{owners[view]}' has a view of that name; "
                    "rename one"
                )
            owners[view] = domain.name
        for number, source in enumerate(domain.sources):
            _check_source(f"{directory}/{domain.name}.yaml: sources.{number}", domain, source, domains)
    return domains


def _check_source(place: str, domain: Domain, source: Source, domains: dict[str, Domain]) -> None:
    if source.domain == domain.name or source.domain not in domains:
        others = [name for name in domains if name != domain.name]
        raise BadDomain(f"{place}.domain: '{source.domain}' is no other domain; {nearest(source.domain, others)}")
    for key, expression in (("where", source.where), ("key", source.key)):
        if expression:
            try:
                expressions.check(expression, domains[source.domain].fields)
            except ValueError as error:
                raise BadDomain(f"{place}.{key}: {error}") from None
