"""What must be there before anything flows: the bucket, the domain's topic, its raw table, a live version of it."""

from __future__ import annotations

from urllib.parse import urlsplit

from minio import Minio

from lake.domain import Domain
from lake.log import Log
from lake.raw import Raw
from lake.registry import Registry
from lake.settings import Settings


def provision(settings: Settings, domain: Domain) -> None:
    """Make whatever of it is missing; what exists is left as it is."""
    create_bucket(settings)
    log = Log(settings, domain)
    log.create_topic()
    Raw(settings, domain).create(log.topic_id())
    registry = Registry(settings)
    if registry.live(domain.name) is None:
        registry.declare(domain)


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
