"""A domain file, read and checked: its events' fields, its dimensions and the views declared on them.

Invariant: a Domain that exists is valid; whatever is wrong in the YAML is said with file, field and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator, model_validator

from lake import expressions
from lake.domain_errors import Mistake, Mistakes, mistakes_of, shown, tell
from lake.errors import BadDomain
from lake.expressions import nearest
from lake.fields import RESERVED, EventField, Name, Strict
from lake.formats import Format, Json, read_format
from lake.view import View, expression_mistakes, view_mistakes
from lake.yaml_file import BadYaml, YamlFile, read_yaml

APPEND_TIME = "append_time"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


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
    event_time: str
    fields: dict[Name, EventField]
    format: SerializeAsAny[Format] = Json()
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
            raise ValueError(f"expected a mapping with domain, event_time, fields and views, found {shown(data)}")
        name = data.get("domain")
        data = {"topic": name if isinstance(name, str) else "unnamed", **data}
        views = data.get("views")
        if isinstance(views, dict):
            data["views"] = {
                name: {"name": name, **view} if isinstance(view, dict) else view for name, view in views.items()
            }
        return data

    @field_validator("format", mode="before")
    @classmethod
    def _read_format(cls, declared: object, info: ValidationInfo) -> Format:
        return read_format(declared, info.data.get("fields", {}))

    @model_validator(mode="after")
    def _check(self) -> Domain:
        if found := list(self._mistakes()):
            raise Mistakes(found)
        return self

    def _mistakes(self) -> Iterator[Mistake]:
        if not _TOPIC.fullmatch(self.topic) or self.topic in (".", ".."):
            yield Mistake(
                ("topic",), f"'{self.topic}' is no topic; expected at most 249 letters, digits, '.', '_', '-'"
            )
        if not self.fields:
            yield Mistake(("fields",), "expected at least one field such as event_id: {type: string, required: true}")
        yield from self._name_mistakes()
        if said := self._event_time_mistake():
            yield Mistake(("event_time",), said)
        own: dict[tuple[str, ...], str] = {
            ("dimensions", name, "on"): dimension.on for name, dimension in self.dimensions.items()
        }
        own |= {("dedup", "key"): self.dedup.key} if self.dedup else {}
        for path, expression in own.items():
            yield from expression_mistakes(path, expression, [*self.fields, APPEND_TIME])
        for name, view in self.views.items():
            yield from (mistake.below("views", name) for mistake in self._view_mistakes(name, view))

    def _name_mistakes(self) -> Iterator[Mistake]:
        for part in ("fields", "dimensions"):
            for name in getattr(self, part):
                if name in RESERVED:
                    said = f"'{name}' is a column that every record has ({', '.join(RESERVED)}); rename it"
                    yield Mistake((part, name), said)
        for name in self.dimensions:
            if name in self.fields:
                yield Mistake(("dimensions", name), f"there is a field called '{name}'; rename one")

    def _event_time_mistake(self) -> str | None:
        if self.event_time == APPEND_TIME:
            return None
        time = self.fields.get(self.event_time)
        if time is None:
            return f"'{self.event_time}' is no field; {nearest(self.event_time, [*self.fields, APPEND_TIME])}"
        if time.type.startswith("timestamp") and time.required:
            return None
        return (
            f"field '{self.event_time}' must be a required timestamp or timestamp_ms, found "
            f"{'a required' if time.required else 'an optional'} {time.type} "
            f"(or say event_time: {APPEND_TIME}, when the broker got it)"
        )

    def _view_mistakes(self, name: str, view: View) -> Iterator[Mistake]:
        if view.name != name:
            yield Mistake(("name",), f"'{view.name}' is not '{name}', which the view is called above; remove it")
        if view.over is None:
            yield from view_mistakes(view, self.columns, "field")
            return
        seen = [name]
        while (below := self.views[seen[-1]].over) is not None:
            if below not in self.views:
                if len(seen) == 1:  # else it is the other view's mistake
                    said = (
                        f"'{below}' is no view of this domain; {nearest(below, [v for v in self.views if v != name])}"
                    )
                    yield Mistake(("over",), said)
                return
            if below in seen:
                if below == name:
                    said = f"{' over '.join([*seen, below])}: a view cannot be over itself; take events in one of them"
                    yield Mistake(("over",), said, cause=f"circle of {sorted(seen)}")
                return
            seen.append(below)
        yield from view_mistakes(view, self.views[seen[1]].value_columns(), f"column of view '{seen[1]}'")


def load_domain(name: str, directory: Path) -> Domain:
    """The domain called `name`. Raises BadDomain, naming the file, the line of every mistake and the fix."""
    path = directory / f"{name}.yaml"
    if not path.exists():
        raise BadDomain(f"{path} does not exist; {nearest(name, [p.stem for p in directory.glob('*.yaml')])}")
    return parse_domain(_text(path), str(path), name)


def parse_domain(text: str, place: str, name: str | None = None) -> Domain:
    """A domain from the text of a file at `place`. Raises BadDomain as `load_domain`; also if not called `name`."""
    try:
        file = read_yaml(text)
    except BadYaml as error:
        raise BadDomain(f"{place}:{error.line}: {error}") from None
    return read_domain(file.data, place, name, file)


def read_domain(data: object, place: str, name: str | None = None, file: YamlFile | None = None) -> Domain:
    """A domain from what a file at `place` holds. Raises BadDomain; also if it is not called `name`."""
    try:
        domain = Domain.model_validate(data)
        if name is not None and domain.name != name:
            said = f"'{domain.name}' must equal the file's name, '{name}'"
            raise BadDomain(tell([Mistake(("domain",), said)], place, file))
    except ValidationError as error:
        raise BadDomain(tell(mistakes_of(error, Domain), place, file)) from None
    from lake.type_mistakes import type_mistakes  # compiles the domain, and so needs this module

    if found := type_mistakes(domain):
        raise BadDomain(tell(found, place, file))
    return domain


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise BadDomain(
            f"{path}:{line}: not UTF-8, found byte {error.object[error.start]:#x}; save it as UTF-8"
        ) from None
    except OSError as error:
        raise BadDomain(f"{path}: {error.strerror}; a domain is a file that can be read") from None


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
