"""A topic as the cluster has it now, known by its id, not by its name.

Invariant: two topics of one name, one deleted and one made anew, are never taken for the same log. An id that is
unchanged after records were read proves that they came from that topic, since a deleted id never comes back.
"""

from __future__ import annotations

import base64
import logging
import uuid
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from lake.errors import LogRecreated, TidemarkError
from lake.kafka_clients import librdkafka_options
from lake.settings import Settings
from lake.waiting import wait_until

_REQUEST_SECONDS = 30
# For whoever waits at a screen: a broker that is up answers within milliseconds.
_ANSWER_SECONDS = 5
_silent = logging.getLogger("tidemark.librdkafka")
_silent.setLevel(logging.CRITICAL + 1)
# A topic was just made, or a broker has just gone.
_LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


@dataclass(frozen=True)
class Topic:
    """A topic's name, id (as lake.log gives it) and partitions, ascending."""

    name: str
    id: str
    partitions: tuple[int, ...]


class TopicWatch:
    """One connection to ask about one topic, often: an answer takes about a millisecond."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        request_seconds: float = _REQUEST_SECONDS,
        logger: logging.Logger | None = None,
    ) -> None:
        """`logger` gets what the client says of its connection while it waits; without one it goes to stderr."""
        self._name = name
        self._bootstrap = settings.kafka_bootstrap
        self._request_seconds = request_seconds
        options = {"logger": logger} if logger else {}
        self._admin: Any = AdminClient(librdkafka_options(settings), **options)

    def now(self, expected_id: str | None = None) -> Topic:
        """The topic as it is. Raises LogRecreated if it is gone or is not the one with `expected_id`."""
        asked = TopicCollection([self._name])
        try:
            described = self._admin.describe_topics(asked, request_timeout=self._request_seconds)[self._name].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            if expected_id is not None:
                raise LogRecreated(f"topic '{self._name}' with id {expected_id} was deleted; {_FIX}") from None
            raise TidemarkError(
                f"topic '{self._name}' does not exist at {self._bootstrap}; `tidemark up` creates it"
            ) from None
        id_ = str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{described.topic_id}==")))
        if expected_id not in (None, id_):
            raise LogRecreated(f"topic '{self._name}' has id {id_}, expected {expected_id}: it was made anew; {_FIX}")
        return Topic(self._name, id_, tuple(sorted(p.id for p in described.partitions)))

    def begins(self, topic: Topic) -> dict[int, int]:
        """For each partition, the first offset that Kafka still has."""
        return self._offsets(topic, OffsetSpec.earliest())

    def ends(self, topic: Topic) -> dict[int, int]:
        """For each partition, the offset that the next record will get."""
        return self._offsets(topic, OffsetSpec.latest())

    def _offsets(self, topic: Topic, spec: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(topic.name, p): spec for p in topic.partitions}

        def ask() -> dict[int, int] | None:
            found = self._admin.list_offsets(asked, request_timeout=self._request_seconds)
            try:
                return {asked.partition: future.result().offset for asked, future in found.items()}
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS:
                    raise
                return None

        def too_late() -> TidemarkError:
            return TidemarkError(f"topic '{topic.name}' has partitions without a leader; are enough brokers up?")

        return wait_until(ask, self._request_seconds, 0.1, too_late)


def find_topic(settings: Settings, name: str) -> Topic:
    """The topic as it is now, for a program that a person waits for.

    Raises TidemarkError if there is no such topic, or Kafka does not answer within a few seconds.
    """
    try:
        return TopicWatch(settings, name, _ANSWER_SECONDS, _silent).now()
    except KafkaException as error:
        raise TidemarkError(
            f"Kafka does not answer at {settings.kafka_bootstrap} ({error.args[0].str()}); "
            "is it up (`tidemark status`), is TIDEMARK_KAFKA_BOOTSTRAP right?"
        ) from error


_FIX = "its events cannot be mixed with those already read: give the domain a new topic, or start with a new bucket"
