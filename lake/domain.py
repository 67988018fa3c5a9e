"""A domain file, read and checked: its events' fields and the views declared on them.

Invariant: a Domain that exists is valid; whatever is wrong in the YAML is said with file, field and fix.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lake import expressions, measures
from lake.errors import BadDomain
from lake.expressions import nearest

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TYPES = ("string", "integer", "decimal(p,s)", "double", "boolean", "timestamp", "timestamp_ms")
_TYPE = re.compile(r"^(string|integer|double|boolean|timestamp|timestamp_ms|decimal\((\d+),\s*(\d+)\))$")
# 10^18 events of 10^18 still fit the 38 digits of a sum.
MAX_DECIMAL_DIGITS = 18


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventField(_Strict):
    """One field of the event's JSON object. A missing optional field, or a JSON null, is NULL."""

    type: str
    required: bool = False
    values: tuple[str, ...] | None = None
    min: float | None = None
    max: float | None = None
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> EventField:
        match = _TYPE.match(self.type)
        if not match:
            raise ValueError(f"type '{self.type}' is unknown; allowed: {', '.join(TYPES)}")
        if match[2] and not int(match[3]) <= int(match[2]) <= MAX_DECIMAL_DIGITS:
            raise ValueError(
                f"'{self.type}': a decimal(p,s) needs s <= p <= {MAX_DECIMAL_DIGITS}, so that no sum overflows"
            )
        if self.values is not None and self.type != "string":
            raise ValueError(f"'values' is for strings, not for {self.type}; use min and max")
        if (self.min, self.max) != (None, None) and self.type in ("string", "boolean"):
            raise ValueError(f"'min' and 'max' are for numbers and times, not for {self.type}")
        return self

    @property
    def decimal(self) -> tuple[int, int] | None:
        """(precision, scale) of a decimal, else None."""
        match = _TYPE.match(self.type)
        return (int(match[2]), int(match[3])) if match and match[2] else None


class View(_Strict):
    """A named query over a domain: which events, grouped by what, measured how."""

    name: Name
    description: str = ""
    where: str | None = None
    group_by: dict[Name, str]
    measures: dict[Name, dict[str, str]]


class Domain(_Strict):
    """One kind of business event: topic, fields, views."""

    domain: Name
    description: str = ""
    owner: str = ""
    topic: str
    partitions: int = Field(4, ge=1, le=4096)
    format: Literal["json"] = "json"
    event_time: str
    fields: dict[Name, EventField]
    views: dict[Name, View]

    @property
    def name(self) -> str:
        return self.domain

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Short forms: the topic is the domain's name, a view knows its own name, `orders: count`."""
        if not isinstance(data, dict):
            raise ValueError("a domain file is a mapping with domain, event_time, fields and views")
        data = {"topic": data.get("domain"), **data}
        views = data.get("views")
        if isinstance(views, dict):
            data["views"] = {
                name: {"name": name, **_with_full_measures(view)} if isinstance(view, dict) else view
                for name, view in views.items()
            }
        return data

    @model_validator(mode="after")
    def _check(self) -> Domain:
        time = self.fields.get(self.event_time)
        if time is None:
            raise ValueError(f"event_time: '{self.event_time}' is no field; {nearest(self.event_time, self.fields)}")
        if not time.type.startswith("timestamp") or not time.required:
            raise ValueError(f"event_time: field '{self.event_time}' must be a required timestamp or timestamp_ms")
        for view in self.views.values():
            self._check_view(view)
        return self

    def _check_view(self, view: View) -> None:
        at = f"views.{view.name}"
        parts = {f"{at}.where": view.where} if view.where else {}
        parts |= {f"{at}.group_by.{name}": expression for name, expression in view.group_by.items()}
        for name, measure in view.measures.items():
            if name in view.group_by:
                raise ValueError(f"{at}: '{name}' is both a key and a measure; rename one")
            if len(measure) != 1:
                raise ValueError(f"{at}.measures.{name}: expected one measure such as {{sum: amount}}, found {measure}")
            [(kind, argument)] = measure.items()
            if kind not in measures.MEASURES:
                raise ValueError(f"{at}.measures.{name}: '{kind}' is no measure; {nearest(kind, measures.MEASURES)}")
            if not (kind == "count" and argument == "*"):
                parts[f"{at}.measures.{name}.{kind}"] = argument
        if not view.measures:
            raise ValueError(f"{at}.measures: at least one is needed, such as {{orders: count}}")
        for place, expression in parts.items():
            try:
                expressions.check(expression, self.fields)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None


def _with_full_measures(view: dict) -> dict:
    declared = view.get("measures")
    if not isinstance(declared, dict):
        return view
    full = {name: {m: "*"} if m == "count" else m for name, m in declared.items()}
    return {**view, "measures": full}


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
    try:
        domain = Domain.model_validate(data)
    except ValidationError as error:
        raise BadDomain("\n".join(f"{path}: {_sentence(e)}" for e in error.errors())) from None
    if domain.name != name:
        raise BadDomain(f"{path}: domain: '{domain.name}' must equal the file's name, '{name}'")
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
    return domains


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        models = {1: Domain, 3: View if error["loc"][0] == "views" else EventField}
        model = models.get(len(error["loc"]), Domain)
        message = f"unknown key; {nearest(str(error['loc'][-1]), model.model_fields)}"
    elif error["type"] not in ("value_error", "missing"):
        message += f", found {error['input']!r}"
    return f"{place}: {message}" if place else message
