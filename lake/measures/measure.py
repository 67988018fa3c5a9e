"""What a measure is: SQL fragments over a commutative monoid of states.

Invariant (tests/laws): NULL or the empty state is the identity, merging is associative and commutative, and the state
of a whole equals the merge of the states of any split of it, in any order, as canonical values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """What a declaration says besides its argument; a measure with options derives from this."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Compiled:
    """The fragments of one declared measure.

    `state` is an aggregate over events, with {x} for the argument and {at} for where the event stands: a struct of
    event_time, partition and offset, in this order. `merge` is an aggregate over states {s}. `values` are scalars of
    one state {s}, computed last, at read, by the suffix of their column: '' gives the measure's own name, 'p50' gives
    <name>_p50.

    With `bucket`, a scalar of {x}, the state is a map, kept as the ascending list of {bucket, part}: `state` and
    `merge` then make and merge the part of each bucket, and events whose bucket is NULL count for none.

    A lambda's parameters begin with an underscore: no column does, and DuckDB would take the column.
    """

    state: str
    merge: str
    values: Mapping[str, str] = field(default_factory=lambda: {"": "{s}"})
    bucket: str | None = None


@dataclass(frozen=True)
class Measure:
    """One kind of measure; its module's name is the word for it in a view.

    `compile` gets the argument's DuckDB type and the options, and raises ValueError with the fix where they do not
    fit. `suffixes` are those of the `values` that it compiles to. `additive`: values of disjoint sets of events may be
    added up. `macros` are SQL statements that the fragments need.
    """

    summary: str
    compile: Callable[[str, Any], Compiled]
    options: type[Options] = Options
    suffixes: Callable[[Any], Sequence[str]] = lambda options: ("",)
    additive: bool = False
    macros: str = ""
