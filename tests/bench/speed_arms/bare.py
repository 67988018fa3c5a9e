"""The speed layer's work in a plain loop, `python -m tests.bench.speed_arms.bare DOMAIN`: consume, kernel, put.

No Beam, no watching of the topic, nothing of what makes reading safe: what is left is the least that these states cost.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from lake.domain import load_domain
from lake.kernel import Kernel
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings, load_settings
from streaming.log_reader import Batch
from streaming.pieces import split
from streaming.pipeline import speed_store
from streaming.states import SegmentStates

_RECORDS, _SECONDS = 20_000, 0.02
_TOPIC_ID = "bare"


def batch_of(messages: list[Any], positions: dict[int, int]) -> Batch:
    partitions = [message.partition() for message in messages]
    offsets = [message.offset() for message in messages]
    times = pa.array([message.timestamp()[1] for message in messages], pa.int64())
    end = {p: offset + 1 for p, offset in zip(partitions, offsets, strict=True)}
    rows = pa.Table.from_arrays(
        [
            pa.array(partitions, pa.int32()),
            pa.array(offsets, pa.int64()),
            times.cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC")),
            pa.array([message.key() for message in messages], pa.binary()),
            pa.array([message.value() for message in messages], pa.binary()),
            pa.array([message.headers() for message in messages], RAW_SCHEMA.field("headers").type),
        ],
        schema=RAW_SCHEMA,
    )
    return Batch(rows, {p: positions[p] for p in end}, end, {})


def consumer_of(settings: Settings, topic: str, positions: Mapping[int, int]) -> Any:
    """A consumer of all these partitions, from their positions on."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "bare",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 50_000,
            "fetch.message.max.bytes": 4 << 20,
        }
    )
    consumer.assign([TopicPartition(topic, p, offset) for p, offset in positions.items()])
    return consumer


def main() -> None:
    settings = load_settings()
    domain = load_domain(sys.argv[1], settings.domains_dir)
    kernel = Kernel(domain)
    store = speed_store(settings, domain, kernel)
    states = SegmentStates(store, kernel, tuple(domain.stored_views))
    resumes = {p: store.open(p, 0, _TOPIC_ID) for p in range(domain.partitions)}
    consumer = consumer_of(settings, domain.topic, {p: resume.next_offset for p, resume in resumes.items()})
    segment_ms = settings.segment_seconds * 1000
    while True:
        messages = consumer.consume(_RECORDS, _SECONDS)
        if messages:
            positions = {p: resume.next_offset for p, resume in resumes.items()}
            states.put(split(batch_of(messages, positions), resumes, segment_ms, _TOPIC_ID))


if __name__ == "__main__":
    main()
