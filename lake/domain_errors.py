"""What is wrong in a domain file: each mistake once, with its place, what was found and what is allowed.

Invariant: a place is a path into the file, so whoever has the file can say the line.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lake.errors import BadDomain
from lake.expressions import closest, nearest
from lake.yaml_file import Path, YamlFile

NAME_RULE = "lower-case letters, digits and _, a letter first, at most 63"
_ASKED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping such as {name: value}",
    "model_type": "a mapping such as {key: value}",
    "tuple_type": "a list such as [a, b]",
    "list_type": "a list such as [a, b]",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length}",
    "literal_error": "{expected}",
}


@dataclass(frozen=True)
class Mistake:
    """`said` is a sentence without the place. Mistakes of one `cause` are one, which is told once."""

    path: Path
    said: str
    cause: str | None = None

    def below(self, *path: str | int) -> Mistake:
        """The same, seen from further up in the file."""
        return Mistake((*path, *self.path), self.said, self.cause)

    @property
    def place(self) -> str:
        return ".".join(str(part) for part in self.path)


class Mistakes(ValueError):
    """All that is wrong in one part of a file."""

    def __init__(self, found: Iterable[Mistake]) -> None:
        self.found = list(found)
        super().__init__("\n".join(f"{m.place}: {m.said}" if m.path else m.said for m in self.found))


def tell(mistakes: Iterable[Mistake], place: str, file: YamlFile | None = None) -> str:
    """A line for each mistake, by its line in the file; what has the same cause is one, with all its lines."""
    told: dict[object, str] = {}
    more: dict[object, list[str]] = {}
    for mistake in sorted(mistakes, key=lambda m: file.line(m.path) if file else 0):
        line = str(file.line(mistake.path)) if file else mistake.place
        cause = mistake.cause or mistake
        if cause in told:
            more.setdefault(cause, []).append(line)
            continue
        where = f"{place}:{line}" if file else place
        told[cause] = ": ".join([where, *([mistake.place] if mistake.path else []), mistake.said])
    return "\n".join(
        sentence + (f" (also in {', '.join(dict.fromkeys(more[cause]))})" if cause in more else "")
        for cause, sentence in told.items()
    )


def mismatch(domain: str, view: str, path: Path, said: str) -> BadDomain:
    """The error of a type that does not fit at a path of a view."""
    mistake = Mistake(("views", view, *path), said)
    return BadDomain(tell([mistake], f"{domain}.yaml"), mistake)


def mistakes_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Mistake]:
    """What pydantic found when it validated `model`."""
    errors = error.errors()
    misspelled = {(*one["loc"][:-1], _meant(one, model)) for one in errors if one["type"] == "extra_forbidden"}
    unknown, missing = (
        {loc for one in errors if one["type"] == kind and (loc := one["loc"]) not in misspelled}
        for kind in ("extra_forbidden", "missing")
    )
    elsewhere = {loc[:-1] for loc in unknown} & {loc[:-1] for loc in missing}
    for loc in sorted(elsewhere, key=str):
        known, lacks = (
            ", ".join(str(key) for *above, key in found if tuple(above) == loc) for found in (unknown, missing)
        )
        yield Mistake(
            loc, f"has unknown keys, {known}, and lacks {lacks}; is it where it should be, indented as meant?"
        )
    for one in errors:
        if one["type"] in ("extra_forbidden", "missing") and one["loc"][:-1] in elsewhere:
            continue
        if one["type"] == "missing" and one["loc"] in misspelled:
            continue
        path = tuple(part for part in one["loc"] if part != "[key]")
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, Mistakes):
            yield from (mistake.below(*path) for mistake in cause.found)
        else:
            yield Mistake(path, _said(one, model))


def sentence(error: Any, model: type[BaseModel], what: str = "") -> str:
    """One pydantic error of validating `model`, with its place in it; `what` names the sort of place."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    said = _said(error, model)
    return f"{what} '{place}': {said}".lstrip() if place else said


def _meant(unknown: Any, model: type[BaseModel]) -> str | None:
    """The key that an unknown one is nearest to."""
    *path, name = unknown["loc"]
    return closest(str(name), _model_at(model, tuple(path)).model_fields)


def shown(value: object) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None:
        return "nothing"
    text = f"'{' '.join(value.split())}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _said(error: Any, model: type[BaseModel]) -> str:
    kind, found = error["type"], error["input"]
    if kind == "extra_forbidden":
        known = _model_at(model, error["loc"][:-1]).model_fields
        return f"unknown key; {nearest(str(error['loc'][-1]), known)}"
    if kind == "missing":
        needed = [n for n, f in _model_at(model, error["loc"][:-1]).model_fields.items() if f.is_required()]
        return f"is missing; needed here: {', '.join(needed)}"
    if kind == "string_pattern_mismatch":
        return f"'{found}' is no name; expected {NAME_RULE}"
    if error["loc"][-1:] == ("[key]",) and kind == "string_type":
        return f"{shown(found)} is no name; expected {NAME_RULE}"
    if kind in _ASKED:
        quotes = f"; write '{shown(found)}'" if kind == "string_type" and isinstance(found, int | float) else ""
        asked = f"a list such as [{found}]" if kind == "tuple_type" and isinstance(found, str) else _ASKED[kind]
        return f"expected {asked}, found {shown(found)}{quotes}"
    if kind in _BOUNDS:
        asked = _BOUNDS[kind].format(**error["ctx"])
        return f"expected {asked}, found {len(found) if isinstance(found, dict | list | tuple) else shown(found)}"
    message = error["msg"].removeprefix("Value error, ")
    return message if kind == "value_error" else f"{message}, found {shown(found)}"


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel]:
    """The model that stands at a path of field names, mapping keys and indexes."""
    kind: Any = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _bare(kind.model_fields[str(part)].annotation)
        else:
            kind = _bare(get_args(kind)[1 if get_origin(kind) is dict else 0])
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model


def _bare(annotation: Any) -> Any:
    """Without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_bare(a) for a in get_args(annotation) if a is not type(None))
    return annotation
