"""A domain's topic: made with the settings exactness depends on, and known by its id, not by its name.

Invariant: two topics of one name, one deleted and one made anew, are never taken for the same log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from lake.domain import Domain
from lake.errors import LogRecreated, NotLogAppendTime
from lake.settings import Settings

MAX_VALUE_BYTES = 2 << 20
# The broker's limit is on a whole batch: a value at the limit, its key, its headers and the batch's own header.
MAX_BATCH_BYTES = MAX_VALUE_BYTES + (64 << 10)
_REQUEST_SECONDS = 30


@dataclass(frozen=True)
class Topic:
    """A topic as the cluster has it now."""

    name: str
    id: str
    partitions: tuple[int, ...]


def connect(settings: Settings) -> Any:
    """An admin client, for the functions below."""
    return AdminClient({"bootstrap.servers": settings.kafka_bootstrap})


def ensure_topic(admin: Any, domain: Domain, replication_factor: int = 1) -> Topic:
    """The domain's topic, created if it is missing. Raises NotLogAppendTime if producers set its timestamps."""
    config = {
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(MAX_BATCH_BYTES),
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": str(max(1, replication_factor - 1)),
    }
    new = NewTopic(domain.topic, domain.partitions, replication_factor, config=config)
    try:
        admin.create_topics([new], operation_timeout=_REQUEST_SECONDS)[domain.topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
    _refuse_producers_time(admin, domain.topic)
    return describe_topic(admin, domain.topic)


def describe_topic(admin: Any, name: str, expected_id: str | None = None) -> Topic:
    """The topic as it is now. Raises LogRecreated if it is gone or is not the one with `expected_id`."""
    try:
        described = admin.describe_topics(TopicCollection([name]), request_timeout=_REQUEST_SECONDS)[name].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART and expected_id is not None:
            raise LogRecreated(f"topic '{name}' with id {expected_id} was deleted; {_FIX}") from None
        raise
    found = Topic(name, str(described.topic_id), tuple(sorted(p.id for p in described.partitions)))
    if expected_id not in (None, found.id):
        raise LogRecreated(f"topic '{name}' has id {found.id}, expected {expected_id}: it was made anew; {_FIX}")
    return found


_FIX = "its events cannot be mixed with those already landed: give the domain a new topic name, or a new bucket"


def _refuse_producers_time(admin: Any, name: str) -> None:
    resource = ConfigResource(ResourceType.TOPIC, name)
    config = admin.describe_configs([resource], request_timeout=_REQUEST_SECONDS)[resource].result()
    found = config["message.timestamp.type"].value
    if found != "LogAppendTime":
        raise NotLogAppendTime(
            f"topic '{name}' has message.timestamp.type={found}, expected LogAppendTime: cuts need the broker's clock; "
            "a topic that already holds such records must be made anew, an empty one can be altered"
        )
