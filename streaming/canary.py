"""Measures freshness end to end: appends a marker, and times how long the merged answers take to reach beyond it.

Invariant: what it appends is a marker that no view counts, that seals no cut and announces no version. One marker of
a domain is under way at a time, and it stays so until it is reached: an outage is measured, not left out.
"""

from __future__ import annotations

import threading
import time
from typing import Annotated, Any

import structlog
import typer
from confluent_kafka import KafkaError, KafkaException, Producer

from lake import metrics
from lake.cuts import Cut
from lake.domain import Domain, load_domain
from lake.errors import exit_on_error
from lake.heads import Heads
from lake.kafka_clients import librdkafka_options
from lake.log import CANARY_HEADER
from lake.parse import MARKER_HEADER
from lake.settings import Settings, load_settings
from streaming.gauges import AWAY, announce_metrics, watch_raw
from streaming.logs import configure_logs
from streaming.together import run_together, stop_on_signals
from streaming.topic import TopicWatch

log = structlog.get_logger()

_HEADERS = [(MARKER_HEADER, b"{}"), (CANARY_HEADER, b"{}")]
# A look is at most so late, as a share of what it measures; at least so long after the one before, at most so long.
_SHARE, _LEAST_SECONDS, _MOST_SECONDS = 0.1, 0.05, 1.0
_ACKNOWLEDGED_SECONDS = 10


class Canary:
    """Of one domain: a marker to one partition after the other."""

    def __init__(self, settings: Settings, domain: Domain, stop: threading.Event) -> None:
        self._settings, self._domain, self._stop = settings, domain, stop
        self._heads = Heads(settings, domain)
        self._watch = TopicWatch(settings, domain.topic)
        self._producer: Any = Producer(
            {
                **librdkafka_options(settings),
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": _ACKNOWLEDGED_SECONDS * 1000,
                "log_level": 3,
            }
        )
        self._appended = 0
        self._sent: float | None = None
        metrics.CANARY_WAITING_SECONDS.labels(domain.name).set_function(self._waiting_seconds)

    def run(self) -> None:
        """Until `stop` is set. What is away is waited for; where there is no view, there is nothing to measure."""
        if not self._domain.stored_views:
            self._stop.wait()
        pause = 0.0
        while not self._stop.wait(pause):
            begun = time.monotonic()
            try:
                self.measure()
            except AWAY as error:
                self._failed("no marker was appended", error)
            pause = max(0.0, begun + self._settings.canary_interval_seconds - time.monotonic())

    def measure(self) -> float | None:
        """Append one marker and wait until every stored view's head is beyond it: the seconds; None if stopped.

        The time is from before it was sent. It is at most a twentieth of a second or a tenth too long. Raises what
        Kafka raises if the marker was not acknowledged; it may be in the log nevertheless, where it does no harm.
        """
        topic = self._watch.now()
        partition = topic.partitions[self._appended % len(topic.partitions)]
        self._appended += 1
        self._look()  # so that what is to be checked in the lake is checked before, not within what is measured
        self._sent = sent = time.monotonic()
        try:
            offset = self._append(partition)
            metrics.CANARY_MARKERS.labels(self._domain.name).inc()
            while not self._reached(partition, offset):
                waited = time.monotonic() - sent
                if self._stop.wait(min(max(_LEAST_SECONDS, _SHARE * waited), _MOST_SECONDS)):
                    return None
            seconds = time.monotonic() - sent
        finally:
            self._sent = None
        metrics.FRESHNESS_SECONDS.labels(self._domain.name).observe(seconds)
        metrics.LAST_FRESHNESS_SECONDS.labels(self._domain.name).set(seconds)
        return seconds

    def _append(self, partition: int) -> int:
        """The marker's offset, once it is acknowledged."""
        told: list[tuple[Any, Any]] = []
        key = MARKER_HEADER.encode()
        self._producer.produce(
            self._domain.topic, None, key, partition, on_delivery=lambda *report: told.append(report), headers=_HEADERS
        )
        self._producer.flush(_ACKNOWLEDGED_SECONDS + 1)
        if not told:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        [(error, message)] = told
        if error is not None:
            raise KafkaException(error)
        return message.offset()

    def _reached(self, partition: int, offset: int) -> bool:
        heads = self._look()
        return heads is not None and all(head.get(partition, 0) > offset for head in heads.values())

    def _look(self) -> dict[str, Cut] | None:
        try:
            return self._heads.now()
        except AWAY as error:
            self._failed("no look at the heads", error)
            return None

    def _failed(self, what: str, error: Exception) -> None:
        metrics.CANARY_FAILURES.labels(self._domain.name).inc()
        log.warning(what, domain=self._domain.name, error=f"{type(error).__name__}: {error}")

    def _waiting_seconds(self) -> float:
        sent = self._sent
        return 0.0 if sent is None else time.monotonic() - sent


def main(
    domain: Annotated[list[str] | None, typer.Option(help="A domain that is measured; several may be.")] = None,
) -> None:
    """Measure how fresh the merged answers of some domains are until stopped; without --domain, shop's."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        declared = [load_domain(name, settings.domains_dir) for name in dict.fromkeys(domain or ["shop"])]
        stop = stop_on_signals()
        if announce_metrics(settings):
            for each in declared:
                watch_raw(settings, each)
        run_together({each.name: Canary(settings, each, stop).run for each in declared}, stop)
        log.info("stopped", domains=[each.name for each in declared])


if __name__ == "__main__":
    typer.run(main)
