"""A domain file, read and checked: its events' fields, its dimensions and the views declared on them.

Invariant: a Domain that exists is valid; whatever is wrong in the YAML is said with file, field and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator, model_validator

from lake.domain_errors import Mistake, Mistakes, mistakes_of, shown, tell
from lake.errors import BadDomain
from lake.expressions import nearest
from lake.fields import MAX_OPTIONAL_FIELDS, RESERVED, EventField, Name, Strict
from lake.formats import Format, Json, read_format
from lake.inputs import Dedup, Dimension, Source
from lake.view import View, expression_mistakes, view_mistakes
from lake.yaml_file import BadYaml, YamlFile, read_yaml

APPEND_TIME = "append_time"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Domain(Strict):
    """One kind of business event: topic, fields, views."""

    domain: Name
    description: str = ""
    owner: str = ""
    topic: str = ""
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
        optional = sum(not field.required for field in self.fields.values())
        if optional > MAX_OPTIONAL_FIELDS:
            said = f"{optional} optional fields, at most {MAX_OPTIONAL_FIELDS} can be told apart; split the domain"
            yield Mistake(("fields",), said)
        yield from self._name_mistakes()
        yield from self._event_time_mistakes()
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

    def _event_time_mistakes(self) -> Iterator[Mistake]:
        name, time = self.event_time, self.fields.get(self.event_time)
        if time is None and name != APPEND_TIME:
            said = f"'{name}' is no field; {nearest(name, [*self.fields, APPEND_TIME])}"
            yield Mistake(("event_time",), said, cause=f"no field '{name}'")
        elif time and not (time.required and time.type.startswith("timestamp")):
            found = f"{'a required' if time.required else 'an optional'} {time.type}"
            said = f"field '{name}' must be a required timestamp or timestamp_ms, found {found}"
            yield Mistake(("event_time",), f"{said} (or say event_time: {APPEND_TIME}, when the broker got it)")

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
    """Every domain of a directory, by name. View names are unique over all, since SQL sees them side by side.

    Raises BadDomain with all the mistakes of all the files.
    """
    domains: dict[str, Domain | None] = {}
    told = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            domains[path.stem] = load_domain(path.stem, directory)
        except BadDomain as error:
            domains[path.stem] = None
            told.append(str(error))
    for name, domain in domains.items():
        if domain and (found := list(_mistakes_between(domain, domains))):
            path = directory / f"{name}.yaml"
            told.append(tell(found, str(path), read_yaml(_text(path))))
    if told:
        raise BadDomain("\n".join(told))
    return {name: domain for name, domain in domains.items() if domain}


def _mistakes_between(domain: Domain, domains: Mapping[str, Domain | None]) -> Iterator[Mistake]:
    """What is wrong in a domain because of the others; of those that are None nothing is known."""
    for other in takewhile(lambda d: d is not domain, domains.values()):
        for view in domain.views if other else ():
            if other and view in other.views:
                yield Mistake(("views", view), f"domain '{other.name}' has a view of that name; rename one")
    for number, source in enumerate(domain.sources):
        path = ("sources", number)
        if source.domain == domain.name or source.domain not in domains:
            others = [name for name in domains if name != domain.name]
            yield Mistake((*path, "domain"), f"'{source.domain}' is no other domain; {nearest(source.domain, others)}")
        elif (origin := domains[source.domain]) is not None:
            for key, expression in (("where", source.where), ("key", source.key)):
                if expression is not None:
                    yield from expression_mistakes((*path, key), expression, origin.fields, f"field of {origin.name}")
            if circle := _circle(domain, origin, domains):
                said = f"{' from '.join(circle)}: events would go round for ever; take one of these sources out"
                yield Mistake(path, said)


def _circle(domain: Domain, origin: Domain, domains: Mapping[str, Domain | None]) -> list[str]:
    """The way from a domain over one of its origins back to itself, empty if there is none."""
    ways = [[domain.name, origin.name]]
    seen = {origin.name}
    for way in ways:
        last = domains.get(way[-1])
        for name in (source.domain for source in last.sources) if last else ():
            if name == domain.name:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
