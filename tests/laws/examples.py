"""What the laws are tried on: many small batches, drawn first and then carried together, told apart by a number.

Invariant: the same seed draws the same examples.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lake.domain import Domain, read_domain
from lake.raw_schema import RAW_SCHEMA
from tests.laws.line import LINES

SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
TOTAL = int(os.environ.get("LAWS_EXAMPLES") or 1000)
# So many are carried together; more take more rounds.
EXAMPLES = min(TOTAL, 5000)
ROUNDS = math.ceil(TOTAL / EXAMPLES)
PARTS = 3
BEGIN = datetime(2026, 11, 21, 9, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VIEW = "laws"

_TEXT = st.sampled_from(["", "a", "b", "É", "E\u0301", "\0", "10", "9", "\U0001f600", "\ufb01"]) | st.text(max_size=3)
_INTEGERS = st.integers(-3, 12) | st.sampled_from([-(2**63), 2**63 - 1, 10**18, 127, 128, 2**53 + 1])
_DECIMALS = (st.integers(-30_000, 30_000) | st.integers(1 - 10**18, 10**18 - 1)).map(lambda n: Decimal(n).scaleb(-4))
_FLOATS = st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, -2.5, 1e8, -1e8, 5e-324]) | st.floats(
    allow_nan=False, allow_infinity=False
)
_EVENT = st.tuples(
    st.integers(0, PARTS - 1),
    st.sampled_from([0, 0, 1, 2, 253_402_300_799_999]),
    st.sampled_from(["x", "x", "x", "x", "", None]),
    st.none() | _INTEGERS | st.integers(-(2**63), 2**63 - 1),
    st.none() | _DECIMALS,
    st.none() | _FLOATS,
    st.none() | _TEXT,
    st.sampled_from([None, False, True]),
    st.none() | st.lists(st.sampled_from(["", "a", "b"]), max_size=2),
)
_BATCH = st.lists(_EVENT, max_size=12)
Event = dict[str, Any]


def laws_domain(views: dict[str, Any] | None = None, name: str = "laws", by_example: bool = False) -> Domain:
    """A domain of one view, which has every line as a measure; its rows are of an example each with `by_example`."""
    types = {
        "number": "integer",
        "n": "integer",
        "d": "decimal(18,4)",
        "f": "double",
        "s": "string",
        "b": "boolean",
        "w": "list(string)",
    }
    fields = {name: {"type": kind} for name, kind in ({"g": "string"} | types).items()}
    keys = {"example": "number", "g": "g"} if by_example else {"g": "g"}
    declared = {
        "domain": name,
        "event_time": "t",
        "fields": {"t": {"type": "timestamp_ms", "required": True}} | fields,
        "views": views or {VIEW: {"group_by": keys, "measures": {k: x.declared for k, x in LINES.items()}}},
    }
    return read_domain(declared, "laws.yaml")


@dataclass(frozen=True)
class Examples:
    """The events of each example, the part that each belongs to, and all of them as one batch of records.

    The partition of a record is its example's number; `records` has the columns `example` and `part`, too.
    """

    events: list[list[Event]]
    records: pa.Table

    def states(self) -> Iterator[dict[str, Any]]:
        """The rows of the view in plain Python, by example and group."""
        for row, seen in self._seen():
            yield row | {name: line.state(seen[name]) for name, line in LINES.items()}

    def values(self) -> Iterator[dict[str, Any]]:
        for row, seen in self._seen():
            for name, line in LINES.items():
                value = line.value(seen[name])
                row |= {f"{name}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            yield row

    def _seen(self) -> Iterator[tuple[dict[str, Any], dict[str, list]]]:
        for number, events in enumerate(self.events):
            placed = [
                (event, {"event_time": event["t"], "partition": number, "offset": offset})
                for offset, event in enumerate(events)
            ]
            for group in sorted({event["g"] for event in events}, key=lambda g: (g is not None, g)):
                own = [pair for pair in placed if pair[0]["g"] == group]
                yield {"example": number, "g": group}, {name: line.seen(own) for name, line in LINES.items()}


def draw(chosen: int, examples: int = EXAMPLES) -> Examples:
    """`examples` batches, by Hypothesis."""
    drawn: list[list[tuple]] = []

    @seed(chosen)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_BATCH)
    def one(batch: list[tuple]) -> None:
        drawn.append(batch)

    one()
    assert len(drawn) >= examples, f"only {len(drawn)} of {examples} examples were drawn"
    return packed(drawn[:examples])


def packed(drawn: list[list[tuple]]) -> Examples:
    """Batches of events, each a tuple of its part, its event_time in ms and g, n, d, f, s, b and w."""
    events, columns = [], {name: [] for name in [*RAW_SCHEMA.names, "example", "part"]}
    for number, batch in enumerate(drawn):
        events.append([])
        for offset, (part, ms, *rest) in enumerate(batch):
            event = dict(zip(("g", "n", "d", "f", "s", "b", "w"), rest, strict=True))
            text = {k: str(v) if isinstance(v, Decimal) else v for k, v in event.items() if v is not None}
            stamped = BEGIN + timedelta(seconds=offset)
            row = (
                number,
                offset,
                stamped,
                None,
                json.dumps({"t": ms, "number": number} | text).encode(),
                [],
                number,
                part,
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            if event["f"] is not None:
                event["f"] += 0.0
            events[-1].append(event | {"t": EPOCH + timedelta(milliseconds=ms)})
    schema = RAW_SCHEMA.append(pa.field("example", pa.int64())).append(pa.field("part", pa.int64()))
    return Examples(events, pa.table(columns, schema=schema))
