"""The fields of a domain's events: their types and what values are allowed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lake.expressions import nearest

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TYPES = (
    *("string", "integer", "decimal(p,s)", "double", "boolean", "timestamp", "timestamp_ms"),
    *("timestamp(<strptime format>)", "list(string)", "list(integer)"),
)
_TYPE = re.compile(
    r"^(string|integer|double|boolean|timestamp|timestamp_ms|list\((?:string|integer)\)|decimal\((\d+),\s*(\d+)\)"
    r"|timestamp\((?P<strptime>.+)\))$"
)
# Those of strptime that mean one thing for ever; the rules behind a zone's name (%Z) change.
_TIME_PARTS = tuple("%" + letter for letter in "aAbBdfHIjmMpSgyYz%")
# 10^18 events of 10^18 still fit the 38 digits of a sum.
MAX_DECIMAL_DIGITS = 18
RESERVED = ("partition", "offset", "append_time", "key", "value", "headers", "reason", "flaws")
"""Columns that each record has besides its fields."""
MART_COLUMNS = ("tile", "manifest")
"""Columns that each mart has besides a view's keys and states."""
MAX_OPTIONAL_FIELDS = 62
"""Each has a bit of its own in a record's `flaws`, which is an int64."""


class Strict(BaseModel):
    """A part of a domain file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventField(Strict):
    """One field of an event. A missing optional field, or a JSON null, is NULL.

    A value that is of another type, or not allowed, keeps the record out of every view that uses the field; in a
    required field, out of all of them.
    """

    type: str
    required: bool = False
    values: tuple[str, ...] | None = Field(default=None, min_length=1)
    min: float | None = Field(default=None, allow_inf_nan=False)
    max: float | None = Field(default=None, allow_inf_nan=False)
    unit: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> EventField:
        match = _TYPE.match(self.type)
        if not match:
            close = nearest(self.type, TYPES)
            meant = f"; {close}" if close.startswith("did") else ""
            raise ValueError(f"type '{self.type}' is unknown; allowed: {', '.join(TYPES)}{meant}")
        if match[2] and not int(match[3]) <= int(match[2]) <= MAX_DECIMAL_DIGITS:
            raise ValueError(
                f"'{self.type}': a decimal(p,s) needs s <= p <= {MAX_DECIMAL_DIGITS}, so that no sum overflows"
            )
        for part in re.findall(r"%-?.?", self.strptime or ""):
            if part.replace("-", "") not in _TIME_PARTS:
                raise ValueError(f"'{self.type}': '{part}' is none of {' '.join(_TIME_PARTS)}")
        if self.values is not None and self.type != "string":
            raise ValueError(f"'values' is for strings, not for {self.type}; use min and max")
        if (self.min, self.max) != (None, None) and (self.type in ("string", "boolean") or self.item):
            raise ValueError(f"'min' and 'max' are for numbers and times, not for {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"no value is at least min, {self.min:g}, and at most max, {self.max:g}; swap them")
        return self

    @property
    def decimal(self) -> tuple[int, int] | None:
        """(precision, scale) of a decimal, else None."""
        match = _TYPE.match(self.type)
        return (int(match[2]), int(match[3])) if match and match[2] else None

    @property
    def strptime(self) -> str | None:
        """The format of a timestamp(...), else None."""
        match = _TYPE.match(self.type)
        return match["strptime"] if match else None

    @property
    def has_zone(self) -> bool:
        """Whether that format says the offset from UTC; without one, times are UTC."""
        return "%z" in (self.strptime or "").replace("%%", "")

    @property
    def item(self) -> str | None:
        """The type of a list's items, None for what is no list."""
        return self.type[5:-1] if self.type.startswith("list(") else None
