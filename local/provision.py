"""The bucket and the topics, made if they are not there; what exists is left as it is."""

from __future__ import annotations

from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from minio import Minio

from lake.domain import Domain
from lake.settings import Settings
from local.parts import MAX_MESSAGE_BYTES


def create_bucket(settings: Settings) -> None:
    endpoint = urlsplit(settings.s3_endpoint)
    client = Minio(
        endpoint.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=endpoint.scheme == "https",
    )
    if not client.bucket_exists(settings.bucket):
        client.make_bucket(settings.bucket)


def create_topic(settings: Settings, domain: Domain) -> None:
    """The domain's topic, stamped by the broker: cuts trust no other clock."""
    topic = NewTopic(
        domain.topic,
        num_partitions=domain.partitions,
        replication_factor=settings.replication_factor,
        config={
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "unclean.leader.election.enable": "false",
        },
    )
    client = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    try:
        client.create_topics([topic])[domain.topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
