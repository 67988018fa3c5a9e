"""Sources and targets of routes in one sandbox, and what a person who counts by hand expects of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import yaml

from lake.domain import Domain, load_domain
from lake.log import Log
from lake.raw import Raw
from lake.settings import Settings
from streaming.log_reader import LogReader
from streaming.produce import EventProducer
from streaming.selection import place_of
from streaming.topic import TopicWatch
from tests.conftest import Sandbox

COUNTRIES = ("DE", "FR", "GB", None)
_FIELDS = {
    "event_id": {"type": "string", "required": True},
    "event_time": {"type": "timestamp_ms", "required": True},
    "user": {"type": "string", "required": True},
    "country": {"type": "string"},
    "amount": {"type": "integer"},
}


def declare(settings: Settings, name: str, sources: list[dict] | None = None, partitions: int = 3) -> Sandbox:
    """One more domain in a sandbox's folder, its topic made."""
    topic = f"{name}-{settings.bucket}"
    declared = {"domain": name, "topic": topic, "partitions": partitions, "event_time": "event_time", "fields": _FIELDS}
    declared |= {"sources": sources or [], "views": {f"events_{name}": {"measures": {"events": "count"}}}}
    (settings.domains_dir / f"{name}.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    domain = load_domain(name, settings.domains_dir)
    Log(settings, domain).create_topic()
    return Sandbox(settings, domain)


@dataclass(frozen=True)
class Sent:
    """One record as it was sent to a source; `country` and `user` None where it is no event."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    country: str | None = None
    user: str | None = None

    @property
    def is_event(self) -> bool:
        return self.user is not None


def records(count: int, name: str) -> Iterator[Sent]:
    """Of every ten records one is no event, in three ways; some have headers of their own."""
    now = time.time_ns() // 1_000_000
    for number in range(count):
        key, headers = b"camera-%d" % (number % 50), (("trace", b"%d" % number),) if number % 7 == 0 else ()
        if number % 10 == 9:
            value = (b"no event %d" % number, None, b'{"event_id":"%d"}' % number)[number // 10 % 3]
            yield Sent(key, value, headers)
            continue
        user, country = f"user-{number % 83}", COUNTRIES[number % 4]
        place = f'"country":"{country}",' if country else ""
        event = f'{{"event_id":"{name}-{number}","event_time":{now},{place}"user":"{user}","amount":{number}}}'
        yield Sent(key, event.encode(), headers, country, user)


def send_records(sandbox: Sandbox, count: int) -> list[Sent]:
    """Send that many, acknowledged."""
    producer = EventProducer(sandbox.settings, sandbox.domain.topic)
    sent = list(records(count, sandbox.domain.name))
    for record in sent:
        producer.send(record.key, record.value, "good", list(record.headers))
    producer.close()
    return sent


def read_all(settings: Settings, domain: Domain) -> pa.Table:
    """Every record of the topic from its beginning to its end now."""
    watch = TopicWatch(settings, domain.topic)
    topic = watch.now()
    ends = watch.ends(topic)
    batches = []
    with closing(LogReader(settings, topic, dict.fromkeys(topic.partitions, 0))) as reader:
        while any(reader.positions[p] < offset for p, offset in ends.items()):
            if batch := reader.poll(50_000, 1 << 28, 1):
                batches.append(batch.rows)
    return pa.concat_tables(batches) if batches else pa.table({})


def count_log(sandbox: Sandbox) -> int:
    watch = TopicWatch(sandbox.settings, sandbox.domain.topic)
    return sum(watch.ends(watch.now()).values())


def raw_rows(sandbox: Sandbox) -> list[dict]:
    """What raw holds of a target or source."""
    raw = Raw(sandbox.settings, sandbox.domain)
    return [row for rows in raw.scan({}, raw.positions(raw.table())) for row in rows.to_pylist()]


def places(rows: list[dict]) -> list[tuple]:
    """Where routed rows came from, one entry a row."""
    return [place_of(row["headers"]) for row in rows]
