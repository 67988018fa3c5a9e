"""The log as an administrator sees it: topics, partitions, where they begin and end, and the markers of a seal.

Not for hot paths: those read and write through librdkafka (streaming/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic, OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError

from lake.cuts import Cut, epoch_ms
from lake.domain import Domain
from lake.errors import LogStopped, TidemarkError
from lake.kafka_clients import kafka_python_options
from lake.parse import MARKER_HEADER
from lake.settings import Settings
from lake.timeline import ANNOUNCEMENT_HEADER
from lake.waiting import wait_until

CANARY_HEADER = "tidemark-canary"
"""Beside an empty MARKER_HEADER: a marker that seals and announces nothing, and only shows how far others have come."""

MAX_VALUE_BYTES = 2 * 1024 * 1024
_TIMESTAMPS, _APPEND_TIME, _CREATE_TIME = "message.timestamp.type", "LogAppendTime", "CreateTime"
# A value at the limit travels in a batch with its key, its headers and the batch's own header.
MAX_MESSAGE_BYTES = MAX_VALUE_BYTES + 64 * 1024


class Log:
    """One domain's topic."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self._settings = settings
        self._domain = domain

    def exists(self) -> bool:
        """Whether there is such a topic."""
        with self._admin() as admin:
            return self._domain.topic in admin.list_topics()

    def create_topic(self, partitions: int = 0, append_time: bool = True) -> None:
        """Make the topic if it is not there, with the broker's append time on each record.

        It has at least so many partitions. `append_time=False` is for one that is not ready yet: no reader takes its
        records.
        """
        topic = NewTopic(
            self._domain.topic,
            num_partitions=max(partitions, self._domain.partitions),
            replication_factor=self._settings.replication_factor,
            topic_configs={
                _TIMESTAMPS: _APPEND_TIME if append_time else _CREATE_TIME,
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
                "min.insync.replicas": str(max(1, self._settings.replication_factor - 1)),
                "unclean.leader.election.enable": "false",
                "retention.ms": str(self._settings.kafka_retention_hours * 3_600_000),
            },
        )
        with self._admin() as admin:
            if self._domain.topic not in admin.list_topics():
                with suppress(TopicAlreadyExistsError):
                    admin.create_topics([topic])
            admin.wait_for_topics([self._domain.topic])

    def add_partitions(self, count: int) -> None:
        """Make them `count`, if they are fewer."""
        if self.partitions() >= count:
            return
        with self._admin() as admin:
            admin.create_partitions({self._domain.topic: count})

        def enough() -> bool | None:
            return self.partitions() >= count or None

        def too_late() -> TidemarkError:
            return TidemarkError(f"topic '{self._domain.topic}' does not get {count} partitions")

        wait_until(enough, 30, 0.2, too_late)

    def has_append_time(self) -> bool:
        """Whether records get the broker's append time, as readers demand it."""
        return self.configuration(_TIMESTAMPS)[_TIMESTAMPS] == _APPEND_TIME

    def set_append_time(self, wanted: bool) -> None:
        """Let records get the broker's append time from now on, or keep the producer's, which no reader takes."""
        told = {_TIMESTAMPS: _APPEND_TIME if wanted else _CREATE_TIME}
        with self._admin() as admin:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self._domain.topic, told)])

        def is_so() -> bool | None:
            return self.has_append_time() is wanted or None

        wait_until(is_so, 30, 0.1, lambda: TidemarkError(f"topic '{self._domain.topic}' does not take {told}"))

    def delete_before(self, cut: Cut) -> None:
        """Let Kafka forget the records before `cut`: no reader gets them any more."""
        with self._admin() as admin:
            admin.delete_records({TopicPartition(self._domain.topic, p): offset for p, offset in cut.items()})

    def topic_id(self) -> str:
        """The id the brokers gave this topic; a topic made anew has another."""
        return str(self._describe()["topic_id"])

    def partitions(self) -> int:
        """How many partitions there are at this moment."""
        return len(self._describe()["partitions"])

    def begin(self) -> Cut:
        """The first offset that Kafka still has, for each partition."""
        return self._offsets(OffsetSpec.EARLIEST)

    def end(self) -> Cut:
        """The offset that the next record will get, for each partition."""
        return self._offsets(OffsetSpec.LATEST)

    def first_since(self, t: datetime) -> Cut:
        """For each partition, the first offset that Kafka has with an append_time >= t; its end where there is none."""
        count, end = self.partitions(), self.end()
        wanted = {TopicPartition(self._domain.topic, p): epoch_ms(t) for p in range(count)}
        with self._admin() as admin:
            found = admin.list_partition_offsets(wanted)
        return {tp.partition: at.offset if at.offset >= 0 else end[tp.partition] for tp, at in found.items()}

    def configuration(self, *names: str) -> dict[str, str]:
        """The topic's settings of these names, as the brokers have them, defaults included."""
        topic = self._domain.topic
        with self._admin() as admin:
            found = admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, list(names))], config_filter="all"
            )
        return {name: found["topic"][topic][name]["value"] for name in names}

    def mark(self, t: datetime, partitions: int) -> dict[int, tuple[int, int]]:
        """Write one marker of `t` to each partition: partition -> (its offset, its append_time in ms).

        A marker has a null value; its header says which cut it seals and how many partitions there were.
        """
        header = json.dumps({"t": epoch_ms(t), "partitions": partitions}).encode()
        return self._send_markers(partitions, [(MARKER_HEADER, header)])

    def announce(self, dimension: str, version: int) -> None:
        """Write a marker to each partition that says: from its next segment on, this version holds."""
        told = json.dumps({"dimension": dimension, "version": version}).encode()
        self._send_markers(self.partitions(), [(MARKER_HEADER, b"{}"), (ANNOUNCEMENT_HEADER, told)])

    def _send_markers(self, partitions: int, headers: list[tuple[str, bytes]]) -> dict[int, tuple[int, int]]:
        producer = KafkaProducer(**kafka_python_options(self._settings), acks="all")
        try:
            sent = {
                p: producer.send(
                    self._domain.topic,
                    key=MARKER_HEADER.encode(),
                    headers=headers,
                    partition=p,
                )
                for p in range(partitions)
            }
            stored = {p: future.get(timeout=30) for p, future in sent.items()}
        except KafkaError as error:
            raise TidemarkError(f"no marker could be written to topic '{self._domain.topic}': {error}") from error
        finally:
            producer.close()
        return {p: (record.offset, record.timestamp) for p, record in stored.items()}

    def _describe(self) -> dict:
        with self._admin() as admin:
            [described] = admin.describe_topics([self._domain.topic])
        if described.get("error_code"):
            raise LogStopped(
                f"topic '{self._domain.topic}' cannot be described (Kafka error {described['error_code']}); "
                "does it exist? `tidemark up` creates it"
            )
        return described

    def _offsets(self, spec: OffsetSpec) -> Cut:
        count = self.partitions()
        wanted = {TopicPartition(self._domain.topic, p): spec for p in range(count)}
        with self._admin() as admin:
            found = admin.list_partition_offsets(wanted)
        return {tp.partition: position.offset for tp, position in found.items()}

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        try:
            admin = KafkaAdminClient(**kafka_python_options(self._settings))
        except KafkaError as error:
            raise TidemarkError(
                f"Kafka does not answer at {self._settings.kafka_bootstrap} ({error}); "
                "is it up (`tidemark status`), is TIDEMARK_KAFKA_BOOTSTRAP right?"
            ) from error
        try:
            yield admin
        finally:
            admin.close()
