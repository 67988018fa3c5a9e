"""What a topic holds comes into raw's columns as it was sent, whatever that is."""

from __future__ import annotations

import random
from contextlib import closing

import pyarrow as pa
import pytest
from confluent_kafka import KafkaException, Producer

from lake.raw_schema import RAW_SCHEMA
from streaming.librdkafka import Consumer
from streaming.log_reader import LogReader
from streaming.messages import Messages, _text
from streaming.topic import TopicWatch


def some_headers(chance: random.Random) -> list[tuple[str, bytes | None]] | None:
    values = [None, b"", b"\xff\x00", chance.randbytes(chance.randrange(300))]
    return [(chance.choice(["", "kind", "größe"]), chance.choice(values)) for _ in range(chance.randrange(4))] or None


def some_bytes(chance: random.Random) -> bytes | None:
    return chance.choice([None, b"", b"\x00", chance.randbytes(chance.randrange(12)), chance.randbytes(5000)])


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_keys_values_and_headers_are_those_that_were_sent(make_sandbox, codec):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sandbox = make_sandbox(partitions=3)
    settings, name = sandbox.settings, sandbox.domain.topic
    options = {"compression.type": codec, "linger.ms": 20, "enable.idempotence": True}  # which keeps the order
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, **options})
    sent: dict[int, list] = {p: [] for p in range(3)}
    for _ in range(1500):
        p, key, value, headers = chance.randrange(3), some_bytes(chance), some_bytes(chance), some_headers(chance)
        producer.produce(name, value, key, p, headers=headers)
        sent[p].append((key, value, headers))
    assert producer.flush(30) == 0
    found: dict[int, list] = {p: [] for p in range(3)}
    with closing(LogReader(settings, TopicWatch(settings, name).now(), dict.fromkeys(range(3), 0))) as reader:
        while sum(map(len, found.values())) < 1500:
            batch = reader.poll(chance.randrange(1, 700), 1 << 20, 0.2)
            if batch is None:
                continue
            assert batch.rows.schema == RAW_SCHEMA
            batch.rows.validate(full=True)
            for row in batch.rows.to_pylist():
                headers = row["headers"] and [(header["key"], header["value"]) for header in row["headers"]]
                found[row["partition"]].append((row["key"], row["value"], headers))
                assert row["offset"] == len(found[row["partition"]]) - 1
            assert batch.end.items() <= {p: len(rows) for p, rows in found.items()}.items()
    assert found == sent


def test_a_header_name_that_is_no_text_is_escaped():
    names = pa.array([b"kind", b"\xff"], pa.binary())
    assert _text(names).to_pylist() == ["kind", "\\xff"]


def test_what_the_client_does_not_know_is_refused_by_its_name():
    with pytest.raises(KafkaException, match=r"no\.such\.option"):
        Consumer({"no.such.option": 1})


def test_a_closed_consumer_says_so_and_may_be_closed_again(settings):
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "tidemark"})
    consumer.close()
    consumer.close()
    with pytest.raises(RuntimeError, match="closed"):
        Messages(10).take(consumer, 10, 0)
