"""Raw tables with known content, landed through lake.raw as the lander would, on an invented clock."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta

import pyarrow as pa

from lake.cuts import epoch_ms
from lake.domain import Domain
from lake.parse import MARKER_HEADER
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings

BAD = (b"\xff\xfe", b'{"event_id": "e', b"[1]", None, b'{"event_id": 7}', b"")


class Landed:
    """A domain's raw, one event after the other over all partitions."""

    def __init__(self, settings: Settings, domain: Domain, seed: int = 1, topic_id: str = "topic-1") -> None:
        self.raw = Raw(settings, domain)
        self.raw.create(topic_id)
        self.partitions = domain.partitions
        self.heads = dict.fromkeys(range(domain.partitions), 0)
        self._random = random.Random(seed)

    def events(self, start: datetime, seconds: float, count: int) -> None:
        """Spread over the time from `start`; one in ten is bad, some happened hours before."""
        step = timedelta(seconds=seconds / count)
        self._append([self._record(start + i * step, event(self._random, start + i * step)) for i in range(count)])

    def seal(self, t: datetime) -> None:
        told = json.dumps({"t": epoch_ms(t), "partitions": self.partitions}).encode()
        header = [{"key": MARKER_HEADER, "value": told}]
        at = t + timedelta(milliseconds=1)
        self._append([self._record(at, None, p, header) for p in range(self.partitions)])

    def values(self, at: datetime, values: list[bytes | None]) -> None:
        self._append([self._record(at, value) for value in values])

    def skip(self, partition: int, count: int = 1) -> None:
        """Leave a hole."""
        self.heads[partition] += count

    def again(self, partition: int) -> None:
        """Let the next record take the last one's offset."""
        self.heads[partition] -= 1

    def _record(self, at: datetime, value: bytes | None, partition: int | None = None, headers=()) -> dict:
        p = self._random.randrange(self.partitions) if partition is None else partition
        self.heads[p] += 1
        return {
            "partition": p,
            "offset": self.heads[p] - 1,
            "append_time": at,
            "key": b"k",
            "value": value,
            "headers": list(headers),
        }

    def _append(self, records: list[dict]) -> None:
        self.raw.append(self.raw.table(), pa.Table.from_pylist(records, schema=RAW_SCHEMA), self.heads)


def event(source: random.Random, at: datetime) -> bytes | None:
    """One shop event as JSON, or something that is none."""
    if source.random() < 0.1:
        return source.choice(BAD)
    late = source.choice((0, 0, 0, 7_200_000))
    kind = source.choice(("page_view", "page_view", "order", "login"))
    fields = {
        "event_id": str(source.getrandbits(48)),
        "event_type": kind,
        "event_time": epoch_ms(at) - source.randrange(30_000) - late,
        "user_id": f"u{source.randrange(200)}",
        "country": source.choice(("DE", "FR", "ÅÖ")),
    }
    if kind == "page_view":
        fields["page"] = source.choice(("/", "/a", "/b", "/\U0001f600"))
    if kind == "order":
        fields |= {"product": "p", "quantity": 1, "amount": f"{source.randrange(10**6) / 100:.2f}"}
    return json.dumps(fields).encode()
