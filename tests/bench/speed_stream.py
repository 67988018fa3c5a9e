"""A topic of its own for each run of an arm, and the answer that the speed layer gives of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import redis
from confluent_kafka.admin import AdminClient

from lake.cuts import Cut, epoch_ms
from lake.domain import Domain
from lake.kernel import Kernel
from lake.log import Log
from lake.serving import Serving
from lake.settings import Settings
from lake.store import SpeedStore
from tests.bench.bench_lake import BenchLake, two_views
from tests.bench.speed_events import Counts, SpeedEvents
from tests.bench.speed_feed import feed

SERVERS = ("kafka", "minio", "store")
VIEWS = ("revenue_by_country_hour", "page_views_by_page_minute")


@dataclass(frozen=True)
class Stream:
    """A domain of two views, revenue per country and hour and page views per page and minute, and its topic."""

    lake: BenchLake
    domain: Domain
    folder: Path
    """For what an arm writes: its log, its state."""

    @property
    def settings(self) -> Settings:
        return self.lake.settings

    @cached_property
    def serving(self) -> Serving:
        return Serving(self.settings, self.domain)

    @cached_property
    def store(self) -> SpeedStore:
        generation = Kernel(self.domain).generation(self.settings.segment_seconds)
        return SpeedStore(self.settings.store_url, generation, self.domain.name)

    def feed(self, events: SpeedEvents) -> None:
        feed(self.settings.kafka_bootstrap, self.domain.topic, events)

    def heads(self) -> Cut:
        """How far the store has come."""
        resumes = {p: self.store.resume(p) for p in range(self.domain.partitions)}
        return {p: resume.next_offset for p, resume in resumes.items() if resume}

    def records_put(self) -> int:
        """How many records the store's heads lie behind."""
        return sum(self.heads().values())

    def served(self) -> Counts:
        """The merged answer to both views."""
        return counts(*(self.serving.values(self.serving.answer(view)).to_pylist() for view in VIEWS))


def counts(orders: list[dict], pages: list[dict]) -> Counts:
    """The rows of both views, as they are presented."""
    found = {("order", r["country"], epoch_ms(r["hour"])): (r["orders"], int(r["revenue"] * 100)) for r in orders}
    return found | {("page_view", r["page"], epoch_ms(r["minute"])): (r["page_views"], 0) for r in pages}


def new_domain(lake: BenchLake, partitions: int) -> Stream:
    """A new domain without a topic."""
    name = f"speed_{secrets.token_hex(4)}"
    domain = lake.declare(name, lambda declared: two_views(declared) | {"partitions": partitions})
    folder = lake.settings.home / "arms" / name
    folder.mkdir(parents=True)
    return Stream(lake, domain, folder)


@contextmanager
def new_stream(lake: BenchLake, partitions: int) -> Iterator[Stream]:
    """A new domain and its empty topic; what Kafka and the store hold of them is removed after."""
    stream = new_domain(lake, partitions)
    Log(lake.settings, stream.domain).create_topic()
    try:
        yield stream
    finally:
        stream.store.forget()
        redis.Redis.from_url(lake.settings.store_url.get_secret_value()).delete(*answer_keys(stream))
        admin = AdminClient({"bootstrap.servers": lake.settings.kafka_bootstrap, "log_level": 3})
        topics = [topic for topic in admin.list_topics(timeout=30).topics if stream.domain.name in topic]
        for removed in admin.delete_topics(topics).values():
            removed.result()


def answer_keys(stream: Stream) -> tuple[str, str]:
    """The hashes, of events and of cents by row, where an arm that is not ours keeps its answer."""
    return f"bench:{stream.domain.name}:events", f"bench:{stream.domain.name}:cents"
