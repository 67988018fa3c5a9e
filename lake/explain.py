"""How a view is computed: which grouping of a stream each part of it uses, in both layers, and with which SQL.

Invariant: the SQL is the kernel's own, which both layers run; nothing here is said from memory where it can be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from lake.catalogue import value_schema
from lake.compile import used_dimensions
from lake.domain import Domain
from lake.errors import TidemarkError
from lake.expressions import nearest
from lake.kernel import Kernel
from lake.lineage import column_types, rows_text
from lake.sql_text import layout

BY_KEY = "by key (fields)"
ROUND_ROBIN = "round robin (shuffle)"
TO_ALL = "to all (broadcast)"
TO_ONE = "to one (global)"
STAYS = "stays (local)"
_LARGE = "one of more than TIDEMARK_BROADCAST_ROWS rows is shuffled by key"


@dataclass(frozen=True)
class Part:
    """One part of a view's computing; a grouping of None: this layer has no such part."""

    name: str
    batch: str | None
    batch_how: str
    speed: str | None
    speed_how: str


@dataclass(frozen=True)
class Explanation:
    """A view, explained. `stored` are the columns that both layers keep, `at_read` those made of them at read."""

    view: str
    domain: str
    stored_view: str
    definition_hash: str
    rows: str
    keys: list[str]
    stored: dict[str, str]
    at_read: dict[str, str]
    parts: list[Part]
    sql: dict[str, str]


def explain(domain: Domain, name: str) -> Explanation:
    """Everything about one view that can be known without data. Raises TidemarkError if there is no such view."""
    if name not in domain.views:
        raise TidemarkError(f"domain '{domain.name}' has no view '{name}'; {nearest(name, domain.views)}")
    kernel = Kernel(domain)
    stored = kernel.stored(name)
    keys = kernel.keys(stored)
    states = column_types(kernel.schema(stored))
    values = column_types(value_schema(kernel, name))
    shown = {column: kind for column, kind in values.items() if name != stored or column not in keys}
    return Explanation(
        view=name,
        domain=domain.name,
        stored_view=stored,
        definition_hash=kernel.definition_hash(stored),
        rows=rows_text(domain.views[name]),
        keys=keys,
        stored=states,
        at_read=shown,
        parts=[*_stored_parts(domain, stored, keys), *_read_parts(domain, name, stored)],
        sql={step: layout(sql) for step, sql in _steps(domain, kernel, name, stored).items()},
    )


def _steps(domain: Domain, kernel: Kernel, name: str, stored: str) -> dict[str, str]:
    """The stored view's own steps, then those of each view over it, down to the one that is asked for."""
    steps = kernel.sql(stored)
    if name == stored:
        return steps
    del steps["show"]
    chain = [name]
    while (over := domain.views[chain[0]].over) is not None and over != stored:
        chain.insert(0, over)
    for view in chain:
        own = kernel.sql(view)
        steps |= {f"{step} {view}": own[step] for step in ("aggregate", "present", "show") if step in own}
    return steps


def _stored_parts(domain: Domain, stored: str, keys: list[str]) -> list[Part]:
    view = domain.views[stored]
    parts = [
        Part(
            "read",
            *(ROUND_ROBIN, "raw's files are dealt over Spark's tasks"),
            *(BY_KEY, "Kafka's partition of the record's key; a reader has a group of partitions"),
        ),
        Part("parse", STAYS, "in the task that read it", STAYS, "in the reader, a chunk at a time"),
    ]
    if domain.dedup:
        window = f"{domain.dedup.segments} segments"
        parts.append(
            Part(
                "duplicates",
                *(BY_KEY, f"(partition, {domain.dedup.key}), within {window}"),
                *(STAYS, f"a key's events are in one partition; a reader remembers {window}"),
            )
        )
    for name in used_dimensions(domain, view):
        on = f"joined where its key is {domain.dimensions[name].on}"
        parts.append(
            Part(
                f"dimension {name}",
                *(TO_ALL, f"each task loads the versions that hold for its events, {on}; {_LARGE}"),
                *(TO_ALL, f"each reader loads the versions that hold for its events, {on}"),
            )
        )
    return [
        *parts,
        Part("aggregate", STAYS, "partial states, beside the data", STAYS, "a chunk's states, beside the data"),
        Part(
            "merge",
            *((BY_KEY, ", ".join(keys)) if keys else (TO_ONE, "a view without keys is one row")),
            *(BY_KEY, "partition and segment: a chunk's states are merged into its segment's"),
        ),
    ]


def _read_parts(domain: Domain, name: str, stored: str) -> list[Part]:
    """What serving does, which is one process: tiles and segments come together."""
    view = domain.views[name]
    parts = [Part("serve", TO_ONE, "the tiles up to the frontier, merged", TO_ONE, "the segments from there, merged")]
    if name != stored:
        parts.append(Part(f"over {view.over}", TO_ONE, "computed at read, from its values", TO_ONE, "the same"))
    if view.order_by or view.limit or view.having or view.retention:
        parts.append(Part("show", TO_ONE, f"at read: {rows_text(view)}", TO_ONE, "the same"))
    return parts
