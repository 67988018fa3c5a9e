"""The laws themselves: what has to be equal for the states of a measure, however its events were cut and merged.

Invariant: whether a law holds is decided by comparing canonical states, column by column.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lake.kernel import Kernel
from tests.laws.examples import PARTS

KEYS = ["example", "g"]
BY = ("example",)


def broken_laws(make_kernel: type[Kernel], domain, records: pa.Table, chance: random.Random) -> dict[str, set[str]]:
    """Measure -> the laws that it breaks on these examples; empty if all hold."""
    kernel, [view] = make_kernel(domain), domain.views
    broken: dict[str, set[str]] = {}

    def merge(*tables: pa.Table) -> pa.Table:
        return kernel.merge(view, tables, BY)

    def equal(law: str, found: pa.Table, expected: pa.Table) -> None:
        assert found.schema == expected.schema
        assert found.select(KEYS).equals(expected.select(KEYS)), f"{law}: other keys"
        for name in found.column_names:
            if not found[name].equals(expected[name]):
                broken.setdefault(name, set()).add(law)

    whole = kernel.run(records, BY, [view])[view]
    in_parts = kernel.run(records, ("example", "part"), [view])[view]
    parts = [in_parts.filter(pc.equal(in_parts["part"], number)).drop_columns(["part"]) for number in range(PARTS)]
    a, b, c = parts
    equal("identity", merge(whole, whole.schema.empty_table()), whole)
    equal("identity", merge(_nothing(whole), whole), whole)
    equal("commutativity", merge(a, b), merge(b, a))
    equal("associativity", merge(merge(a, b), c), merge(a, merge(b, c)))
    equal("split and merge", merge(in_parts.drop_columns(["part"])), whole)
    equal("split and merge", merge(shuffled(in_parts.drop_columns(["part"]), chance)), whole)
    equal("split and merge", _bracketed(merge, parts, chance), whole)
    equal("rerun", make_kernel(domain).run(shuffled(records, chance), BY, [view])[view], whole)
    return broken


def _nothing(states: pa.Table) -> pa.Table:
    """The same keys, and NULL for every state."""
    nulls = {name: pa.nulls(len(states), states.schema.field(name).type) for name in states.column_names}
    return pa.table({**nulls, **{key: states[key] for key in KEYS}}, schema=states.schema)


def shuffled(table: pa.Table, chance: random.Random) -> pa.Table:
    return table.take(chance.sample(range(len(table)), len(table)))


def _bracketed(merge, tables: Sequence[pa.Table], chance: random.Random) -> pa.Table:
    """Merged two by two, any two."""
    left = list(tables)
    while len(left) > 1:
        chance.shuffle(left)
        left.append(merge(left.pop(), left.pop()))
    return left[0]
