"""Events into a topic: a backlog as fast as it goes, or a steady rate from a process of its own.

As a program, `python -m tests.bench.speed_feed`, it is told on stdin, as JSON: bootstrap, topic, rate and what
`SpeedEvents` takes.
"""

from __future__ import annotations

import json
import sys
import time

from confluent_kafka import Producer

from tests.bench.speed_events import SpeedEvents

_TICK_SECONDS = 0.005


def feed(bootstrap: str, topic: str, events: SpeedEvents, rate: float | None = None) -> None:
    """Send all of them, each to its partition, `rate` a second; all are acknowledged when this returns."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5 if rate else 50,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 256 << 10,
        }
    )
    begun = time.monotonic()
    for sent, (partition, key, value) in enumerate(events.records()):
        while rate and sent > (time.monotonic() - begun) * rate:
            producer.poll(_TICK_SECONDS)
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
        if sent % 1000 == 0:
            producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"topic {topic}: {left} of {events.count} events were not acknowledged")


def main() -> None:
    told = json.load(sys.stdin)
    bootstrap, topic, rate = told.pop("bootstrap"), told.pop("topic"), told.pop("rate")
    feed(bootstrap, topic, SpeedEvents(**told), rate)


if __name__ == "__main__":
    main()
