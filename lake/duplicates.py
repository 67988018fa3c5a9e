"""Which events repeat an earlier one: `mark_duplicates`, the kernel's step between parse and aggregate.

Invariant: an event repeats if the identified event with its identity before it, in the same partition, stands in its
segment or one of the `segments` - 1 before; whether that one repeats, too, makes no difference. So a window of whole
segments decides, never history, and every carrier marks the same events. One with the same payload is a duplicate,
one with another payload a conflict.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

DUPLICATE = "duplicate"
CONFLICT = "conflict"

IDENTITIES = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("identity", pa.string()),
        pa.field("payload", pa.uint64()),
    ]
)
"""An event that can repeat: its identity, and a hash of its bytes."""

REPEATS = pa.schema(
    [pa.field("partition", pa.int32()), pa.field("offset", pa.int64()), pa.field("repeats", pa.string())]
)
"""An event that does: as DUPLICATE or CONFLICT."""


def find_repeats(identities: pa.Table, window_ms: int) -> pa.Table:
    """REPEATS among events (IDENTITIES and `segment`, the start in ms) of all partitions, in any order.

    `window_ms` is the length of the window: the number of segments times a segment's length.
    """
    with duckdb.connect(config={"threads": 1}) as db:
        db.register("identities", identities)
        return (
            db.sql(
                f"""SELECT "partition", "offset",
                       CASE WHEN payload = before_payload THEN '{DUPLICATE}' ELSE '{CONFLICT}' END AS repeats
                FROM (SELECT "partition", "offset", payload, segment,
                          lag(payload) OVER before AS before_payload, lag(segment) OVER before AS before_segment
                      FROM identities
                      WINDOW before AS (PARTITION BY "partition", identity ORDER BY "offset"))
                WHERE segment - before_segment < {window_ms} ORDER BY ALL"""
            )
            .to_arrow_table()
            .cast(REPEATS)
        )


class Window:
    """The events of one partition that a next one may repeat, as the partition is read from offset to offset.

    `next` is the offset up to which it knows them.
    """

    def __init__(self, window_ms: int, next_offset: int = 0) -> None:
        self.next = next_offset
        self._window_ms = window_ms
        self._known: dict[str, tuple[int, int]] = {}
        self._segments: dict[int, list[str]] = {}

    def mark(self, identities: pa.Table, segments: np.ndarray, end: int) -> pa.Table:
        """REPEATS among the next events, in their order; `segments` are the starts, in ms, of theirs.

        `end` is the offset up to which the window knows all events afterwards.
        """
        found: list[tuple[int, int, str]] = []
        known, window = self._known, self._window_ms
        columns = (identities[name].to_pylist() for name in IDENTITIES.names)
        for partition, offset, identity, payload, segment in zip(*columns, segments.tolist(), strict=True):
            before = known.get(identity)
            if before is not None and segment - before[0] < window:
                found.append((partition, offset, DUPLICATE if before[1] == payload else CONFLICT))
            known[identity] = (segment, payload)
            if before is None or before[0] != segment:
                self._segments.setdefault(segment, []).append(identity)
        if len(segments):
            self._forget(int(segments[-1]))
        self.next = end
        partitions, offsets, repeats = zip(*found, strict=True) if found else ((), (), ())
        return pa.table(
            [pa.array(c, f.type) for c, f in zip((partitions, offsets, repeats), REPEATS, strict=True)], schema=REPEATS
        )

    def _forget(self, segment: int) -> None:
        """Let go of what no event in this segment or a later one can repeat."""
        for passed in [s for s in self._segments if segment - s >= self._window_ms]:
            for identity in self._segments.pop(passed):
                if self._known[identity][0] == passed:
                    del self._known[identity]
