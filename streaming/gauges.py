"""What has to be asked for when somebody reads the metrics: how far a log's end lies ahead, and where a head stands.

Invariant: asking never makes the metrics fail. What was done last is still done, so where the lake or the store does
not answer, a lag goes on growing; where Kafka does not, nobody knows it, and it is NaN.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

import redis
import structlog
from confluent_kafka import KafkaException
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from lake import metrics
from lake.cuts import Cut, count
from lake.domain import Domain
from lake.errors import TidemarkError
from lake.raw import Raw
from lake.settings import Settings
from lake.store import SpeedStore
from streaming.topic import TopicWatch

log = structlog.get_logger()

AWAY = (TidemarkError, KafkaException, redis.RedisError, OSError, DeltaError)
# Several domains are asked one after the other, and Prometheus waits ten seconds for all.
_REQUEST_SECONDS = 1.0
_silent = logging.getLogger("tidemark.metrics")
_silent.setLevel(logging.CRITICAL + 1)


def announce_metrics(settings: Settings, registry: CollectorRegistry = REGISTRY) -> bool:
    """Serve the metrics and log where; False if they are off. For `main` functions only."""
    port = metrics.serve_metrics(settings, registry)
    if port is not None:
        log.info("metrics", address=f"http://{settings.metrics_host}:{port}/metrics")
    return port is not None


class Lag:
    """How many offsets a topic's end lies beyond what is done, over all partitions; NaN while nobody can know.

    `done` gives the next position of each partition, None where it was never known; what it raises of AWAY is passed
    over. `own` picks the partitions that count. Two requests to the broker a call, however much flows.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        done: Callable[[], Cut | None],
        own: Callable[[Iterable[int]], list[int]] = list,
    ) -> None:
        self._watch = TopicWatch(settings, topic, _REQUEST_SECONDS, _silent)
        self._ask, self._own = done, own
        self._done: Cut | None = None
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            try:
                self._done = self._ask()
            except AWAY as error:
                log.warning("a lag is measured from what was known", error=f"{type(error).__name__}: {error}")
            if self._done is None:
                return math.nan
            try:
                ends = self._watch.ends(self._watch.now())
                return max(0, count(self._done, {p: ends[p] for p in self._own(ends)}))
            except AWAY as error:
                log.warning("a lag is not known", error=f"{type(error).__name__}: {error}")
                return math.nan


class Landing(Protocol):
    """Something that lands, and how far it has come."""

    @property
    def landed(self) -> Cut | None: ...

    def own(self, partitions: Iterable[int]) -> list[int]: ...


def watch_lander(settings: Settings, domain: Domain, lander: Landing) -> None:
    """Let the metrics tell how far a lander is behind; what it counts begins at 0."""
    _begin(domain.name, metrics.LANDED_EVENTS, metrics.LANDED_BYTES, metrics.LAND_FAILURES)
    lag = Lag(settings, domain.topic, lambda: lander.landed, lander.own)
    metrics.LAND_LAG.labels(domain.name).set_function(lag)


class Routing(Protocol):
    """Something that routes from sources, and how far each has been read."""

    @property
    def sources(self) -> Sequence[Domain]: ...

    def read(self, source: str) -> Cut | None: ...


def watch_router(settings: Settings, target: str, router: Routing) -> None:
    """Let the metrics tell how far a router is behind each source, NaN before it routes; what it counts begins at 0."""
    _begin(target, metrics.ROUTED_EVENTS)
    for source in router.sources:
        lag = Lag(settings, source.topic, partial(router.read, source.name))
        metrics.ROUTE_LAG.labels(target, source.name).set_function(lag)


def watch_speed(settings: Settings, domain: str, topic: str, generation: str) -> None:
    """Let the metrics tell how far the store's heads of a generation are behind, and of when they are; what the speed
    layer counts begins at 0.
    """
    _begin(domain, metrics.PUT_EVENTS, metrics.PUT_BAD, metrics.REFUSED_PUTS)
    store = SpeedStore(settings.store_url, generation, domain)

    def heads() -> Cut:
        return {p: head.next_offset for p, head in store.heads().items()}

    metrics.SPEED_LAG.labels(domain, generation).set_function(Lag(settings, topic, heads))
    metrics.SPEED_HEAD_TIME.labels(domain, generation).set_function(_HeadTime(store))


def watch_raw(settings: Settings, domain: Domain) -> None:
    """Let the metrics of a canary tell how far raw is behind, whoever lands, or nobody; what it counts begins at 0."""
    _begin(domain.name, metrics.CANARY_MARKERS, metrics.CANARY_FAILURES)
    metrics.RAW_LAG.labels(domain.name).set_function(Lag(settings, domain.topic, _Positions(Raw(settings, domain))))


def _begin(domain: str, *counters: Counter) -> None:
    """A counter that appeared with its first count would hide that one from a rate."""
    for counter in counters:
        counter.labels(domain)


class _HeadTime:
    """Seconds since 1970 of the newest record in the store, the last known while it is away; 0 before there was one."""

    def __init__(self, store: SpeedStore) -> None:
        self._store, self._seconds = store, 0.0

    def __call__(self) -> float:
        with suppress(redis.RedisError):  # the lag has said so
            self._seconds = max((head.max_append_ms for head in self._store.heads().values()), default=0) / 1000
        return self._seconds


class _Positions:
    """Raw's positions, from one table that is kept and only follows the newest commits."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._table: DeltaTable | None = None

    def __call__(self) -> Cut:
        if self._table is None:
            self._table = self._raw.table()
        else:
            self._table.update_incremental()
        return self._raw.positions(self._table)
