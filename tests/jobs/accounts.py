"""A domain whose records are landed on an invented clock beside a ledger in plain Python: who sent what, and when."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from lake.cuts import Cut, epoch_ms
from lake.domain import Domain
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Mart, MartSnapshot
from lake.parse import MARKER_HEADER
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from lake.tables import filesystem
from local.provision import create_bucket

FILE = Path(__file__).with_name("accounts.yaml")
SUBJECT = "zzsubject4711"
"""As no other user is called, nor anything else in the lake."""


@dataclass(frozen=True)
class Sent:
    """One record of the ledger; `event` is None for one that is bad."""

    partition: int
    offset: int
    user: str
    event: dict | None


class Accounts:
    """The domain's raw and its ledger. `users` of each call are those that send."""

    def __init__(self, settings: Settings, domain: Domain, seed: int = 1) -> None:
        self.settings, self.domain = settings, domain
        self.raw = Raw(settings, domain)
        self.raw.create("topic-1")
        self.heads = dict.fromkeys(range(domain.partitions), 0)
        self.ledger: list[Sent] = []
        self._random = random.Random(seed)

    def copied(self, bucket: str) -> Accounts:
        """The same lake in another bucket."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"bucket": bucket})
        other.raw = Raw(other.settings, self.domain)
        other.heads, other.ledger = dict(self.heads), list(self.ledger)
        create_bucket(other.settings)
        files = filesystem(self.settings)
        fs.copy_files(self.settings.bucket, bucket, source_filesystem=files, destination_filesystem=files)
        return other

    def book(self, start: datetime, count: int, users: list[str]) -> None:
        """Events over 50 minutes from `start`; one in eight is bad, and names its user all the same."""
        records = []
        for i in range(count):
            at, user = start + timedelta(minutes=50) * i / count, self._random.choice(users)
            event = {"user": user, "at": epoch_ms(at), "country": self._random.choice(["DE", "FR"])}
            event["amount"] = f"{self._random.randrange(10**6) / 100:.2f}"
            is_bad = self._random.random() < 0.125
            value = json.dumps(event).encode()
            records.append(self._record(at, user, value[:-1] if is_bad else value, ()))
            place = records[-1]["partition"], records[-1]["offset"]
            self.ledger.append(Sent(*place, user, None if is_bad else event))
        self._append(records)

    def seal(self, t: datetime) -> None:
        told = json.dumps({"t": epoch_ms(t), "partitions": self.domain.partitions}).encode()
        header = [{"key": MARKER_HEADER, "value": told}]
        at = t + timedelta(milliseconds=1)
        self._append([self._record(at, MARKER_HEADER, None, header, p) for p in self.heads])

    def records(self) -> dict[tuple[int, int], dict]:
        """All that raw holds, by place; raises if a place is there twice."""
        rows = [row for part in self.raw.scan({}, self.heads) for row in part.to_pylist()]
        found = {(row["partition"], row["offset"]): row for row in rows}
        assert len(found) == len(rows)
        return found

    def states(self, view: str) -> list[dict]:
        """The view's states, merged over its tiles."""
        kernel = Kernel(self.domain)
        return kernel.merge(view, self.mart(view).states).to_pylist()

    def mart(self, view: str) -> MartSnapshot:
        kernel = Kernel(self.domain)
        definition = kernel.definition_hash(view)
        return Mart(self.settings, self.domain.name, view, kernel.schema(view), definition).snapshot()

    def check(self, end: Cut, keeps: Callable[[Sent], bool]) -> None:
        """Every view's states are those of the ledger's records before `end` that are kept, in plain Python."""
        kept = [sent for sent in self.ledger if sent.offset < end.get(sent.partition, 0) and keeps(sent)]
        events = [sent for sent in kept if sent.event is not None]
        booked: dict[str, Decimal] = {}
        for sent in events:
            country = sent.event["country"]
            booked[country] = booked.get(country, Decimal(0)) + Decimal(sent.event["amount"])
        times = Counter(sent.event["country"] for sent in events)
        found = {row["country"]: (row["booked"], row["times"]) for row in self.states("booked_by_country")}
        assert found == {country: (booked[country], times[country]) for country in booked}
        last = {}
        for sent in sorted(events, key=lambda sent: (sent.event["at"], sent.partition, sent.offset)):
            last[sent.user] = sent.event["country"]
        by_user = Counter(sent.user for sent in events)
        found = {row["user"]: (row["times"], row["last"]["value"]) for row in self.states("times_by_user")}
        assert found == {user: (by_user[user], last[user]) for user in by_user}
        bad = {(row["partition"], row["offset"]) for row in self.states(QUARANTINE)}
        assert bad == {(sent.partition, sent.offset) for sent in kept if sent.event is None}
        for view in (*self.domain.stored_views, QUARANTINE):
            assert self.mart(view).cut == end
            for tile in self.mart(view).tiles:
                assert tile.events == tile.good + tile.quarantined + tile.markers

    def _record(self, at: datetime, key: str, value: bytes | None, headers, partition: int | None = None) -> dict:
        p = self._random.choice(list(self.heads)) if partition is None else partition
        self.heads[p] += 1
        record = {"partition": p, "offset": self.heads[p] - 1, "append_time": at, "key": key.encode(), "value": value}
        return record | {"headers": list(headers)}

    def _append(self, records: list[dict]) -> None:
        self.raw.append(self.raw.table(), pa.Table.from_pylist(records, schema=RAW_SCHEMA), dict(self.heads))
