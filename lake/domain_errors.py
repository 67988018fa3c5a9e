"""What is wrong in a domain file, said in one sentence: the place, what was found, what is allowed."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from lake.expressions import nearest


def sentence(error: Any, model: type[BaseModel]) -> str:
    """One pydantic error of validating `model`."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"unknown key; {nearest(str(error['loc'][-1]), _model_at(model, error['loc'][:-1]).model_fields)}"
    elif error["type"] == "missing":
        message = "is missing"
    elif error["type"] == "string_pattern_mismatch":
        message = f"'{error['input']}' is no name: lower-case letters, digits and _, a letter first, at most 63"
    elif error["type"] != "value_error":
        message += f", found {error['input']!r}"
    return f"{place}: {message}" if place else message


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
