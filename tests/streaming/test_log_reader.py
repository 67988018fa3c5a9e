"""A log that is not the one the positions were made for is a stop with a name."""

from __future__ import annotations

import secrets
from contextlib import closing

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lake.errors import LogTruncated, NotLogAppendTime, RetentionPassed, TidemarkError
from streaming.log_reader import LogReader
from streaming.produce import EventProducer
from streaming.topic import TopicWatch


def opened(sandbox, positions: dict[int, int]) -> LogReader:
    return LogReader(sandbox.settings, TopicWatch(sandbox.settings, sandbox.domain.topic).now(), positions)


@pytest.fixture
def one_partition(make_sandbox):
    return make_sandbox(partitions=1)


def test_batches_cover_the_positions_between_them_and_keep_the_bytes(one_partition):
    producer = EventProducer(one_partition.settings, one_partition.domain.topic)
    values = [b"\x00\xff", None, b"", b"x" * 100_000]
    for value in values:
        producer.send(b"\xfe", value, "good")
    producer.close()
    with closing(opened(one_partition, {0: 1})) as reader:
        assert reader.behind == 0, "nothing is known yet"
        first, behind = reader.poll(2, 1 << 20, 10), reader.behind
        second = reader.poll(10, 1 << 20, 1)
        assert reader.poll(10, 1 << 20, 0.01) is None
        assert (behind, reader.behind) == (1, 0)
    assert (first.start, first.end, second.start, second.end) == ({0: 1}, {0: 3}, {0: 3}, {0: 4})
    assert first.rows["value"].to_pylist() + second.rows["value"].to_pylist() == values[1:]
    assert first.rows["key"].to_pylist() == [b"\xfe"] * 2


def test_records_that_kafka_deleted_before_they_were_read_are_named(one_partition, send):
    send(one_partition, 100)
    admin = AdminClient({"bootstrap.servers": one_partition.settings.kafka_bootstrap})
    [deleted] = admin.delete_records([TopicPartition(one_partition.domain.topic, 0, 40)]).values()
    deleted.result()
    opened(one_partition, {0: 40}).close()
    with pytest.raises(RetentionPassed, match=r"begins at offset 40, expected 30: Kafka deleted 10 records"):
        opened(one_partition, {0: 30})


def test_a_log_that_ends_before_a_position_is_named(one_partition, send):
    send(one_partition, 100)
    opened(one_partition, {0: 100}).close()
    with pytest.raises(LogTruncated, match=r"ends at offset 100, expected at least 101"):
        opened(one_partition, {0: 101})


def test_a_topic_with_producers_timestamps_is_refused(one_partition):
    settings, name = one_partition.settings, f"own_time_{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    admin.create_topics([NewTopic(name, 1, 1, config={"message.timestamp.type": "CreateTime"})])[name].result()
    producer = EventProducer(settings, name)
    producer.send(b"key", b"{}", "good")
    producer.close()
    with (
        closing(LogReader(settings, TopicWatch(settings, name).now(), {0: 0})) as reader,
        pytest.raises(NotLogAppendTime, match=name),
    ):
        reader.poll(10, 1 << 20, 10)


def test_a_topic_that_is_not_there_is_named_with_the_fix(one_partition):
    with pytest.raises(TidemarkError, match=r"topic 'nowhere' does not exist .*`tidemark up` creates it"):
        TopicWatch(one_partition.settings, "nowhere").now()
