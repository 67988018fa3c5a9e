"""A shipped domain's invented events as the log would hold them, and what plain Python makes of them.

Invariant: `counted` has exactly the events that the views must count: the good ones, without those that repeat one of
their window, each with the columns of the dimension version that holds for it.
"""

from __future__ import annotations

import io
import json
import zlib
from csv import DictReader
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count, islice

import pyarrow as pa

from lake.domain import Domain, load_domain
from lake.duplicates import find_repeats
from lake.kernel import Kernel, version_of
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from lake.timeline import survey, timeline
from streaming.events import dimension
from streaming.events.stream import BAD, Shares
from streaming.produce import GENERATORS
from tests.reference.events import Event, moment

SEGMENT_MS = 10_000
EVENTS = 6_000
_STEP_MS = 50
_NOW_MS = 1_795_000_000_000
# Of three hours, so that hours and days begin and end among the events.
_HISTORY_MS = 3 * 3_600_000
SHARES = Shares(late=0.1, duplicates=0.05, malformed=0.05, conflicts=0.03)


@dataclass(frozen=True)
class Generated:
    domain: Domain
    rows: pa.Table
    counted: list[Event]
    repeated: dict[str, int]
    """How many events are duplicates, and how many conflicts."""

    def kernel(self) -> Kernel:
        return Kernel(self.domain, _table)

    def parse(self, kernel: Kernel, rows: pa.Table) -> None:
        """Let the kernel take in some of the rows, the repeats among all of them marked."""
        if self.domain.dedup:
            repeats = self._repeats(kernel)
            kernel.parse(rows)
            kernel.mark(repeats)
        else:
            kernel.parse(rows)

    def _repeats(self, kernel: Kernel) -> pa.Table:
        assert self.domain.dedup
        kernel.parse(self.rows)
        found = kernel.identities()
        segments = timeline([survey(self.rows, SEGMENT_MS)]).segments(
            found["partition"].to_numpy(), found["offset"].to_numpy()
        )
        return find_repeats(found.append_column("segment", pa.array(segments)), self.domain.dedup.segments * SEGMENT_MS)


def generate(name: str, seed: int) -> Generated:
    """Events of a shipped domain over five minutes of an invented clock; in the third, dimensions get a version 2."""
    domain = load_domain(name, Settings().domains_dir)
    clock = count(_NOW_MS, _STEP_MS)
    records = islice(GENERATORS[name](seed, SHARES, lambda: next(clock), _HISTORY_MS), EVENTS)
    heads: dict[int, int] = {}
    rows, good = [], []
    for number, (key, value, kind) in enumerate(records):
        assert key is not None
        partition = zlib.crc32(key) % domain.partitions
        heads[partition] = offset = heads.get(partition, -1) + 1
        append_ms = _NOW_MS + number * _STEP_MS
        version = 0 if number < 500 else 1 if number < EVENTS // 2 else 2
        place = {"partition": partition, "offset": offset}
        row = {**place, "append_time": moment(append_ms), "key": key, "value": value, "headers": []}
        rows.append(row | {version_of(name): version for name in domain.dimensions})
        if kind not in BAD:
            event = json.loads(value) | place
            good.append((append_ms, value, event | _joined(domain, event, version)))
    schema = pa.schema([*RAW_SCHEMA, *((version_of(name), pa.int64()) for name in domain.dimensions)])
    counted, repeated = _without_repeats(domain, good)
    return Generated(domain, pa.Table.from_pylist(rows, schema), counted, repeated)


def _without_repeats(domain: Domain, good: list[tuple[int, bytes, Event]]) -> tuple[list[Event], dict[str, int]]:
    """What the window of whole segments leaves, event by event."""
    repeated = {"duplicates": 0, "conflicts": 0}
    if domain.dedup is None:
        return [event for _, _, event in good], repeated
    counted = []
    before: dict[tuple[int, str], tuple[int, bytes]] = {}
    # The invented clock never steps back, so append_time itself gives the segment.
    for append_ms, value, event in good:
        segment = append_ms // SEGMENT_MS
        identity = (event["partition"], event["event_id"])
        seen, payload = before.get(identity, (-domain.dedup.segments, b""))
        if segment - seen >= domain.dedup.segments:
            counted.append(event)
        else:
            repeated["duplicates" if payload == value else "conflicts"] += 1
        before[identity] = (segment, value)
    return counted, repeated


def _joined(domain: Domain, event: Event, version: int) -> dict[str, str | None]:
    """The columns of the dimensions, `users.country` say; all shipped ones are joined on a plain field."""
    found = {}
    for name, declared in domain.dimensions.items():
        row = _rows(name, version).get(event[declared.on], {})
        found |= {f"{name}.{column}": row.get(column) for column in declared.columns}
    return found


@cache
def _rows(name: str, version: int) -> dict[str, dict[str, str]]:
    """key -> row of a version, as its CSV file says; version 0 has none."""
    if version == 0:
        return {}
    file = io.StringIO()
    dimension.write(name, 1, version, file)
    file.seek(0)
    return {row["key"]: row for row in DictReader(file)}


def _table(name: str, version: int) -> pa.Table:
    return pa.Table.from_pylist(list(_rows(name, version).values()))


def time_span(generated: Generated) -> timedelta:
    """How far apart the counted events happened."""
    times = [event["event_time"] for event in generated.counted]
    return moment(max(times)) - moment(min(times))
