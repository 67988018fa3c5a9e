"""Whether a server answers, asked the way its clients will ask; None means it does."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import httpx
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_silent = logging.getLogger("tidemark.librdkafka")
_silent.setLevel(logging.CRITICAL + 1)
_REPLY_SECONDS = 2.0


def kafka(options: Mapping[str, Any]) -> str | None:
    """A metadata request that names at least one broker; `options` are librdkafka's."""
    bootstrap = options["bootstrap.servers"]
    client = AdminClient(dict(options), logger=_silent)
    try:
        brokers = client.list_topics(timeout=_REPLY_SECONDS).brokers
    except KafkaException as error:
        return f"{bootstrap}: {error.args[0].str()}"
    return None if brokers else f"{bootstrap} knows no broker"


def http(url: str) -> str | None:
    """A GET that is answered with 200."""
    try:
        reply = httpx.get(url, timeout=_REPLY_SECONDS)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return None if reply.status_code == 200 else f"{url}: HTTP {reply.status_code}"


def reachable(url: str) -> str | None:
    """Any answer at all, such as S3's to a request without a signature, but for a server's that is not ready."""
    try:
        reply = httpx.get(url, timeout=_REPLY_SECONDS)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return f"{url}: HTTP {reply.status_code}" if reply.status_code >= 500 else None


def store(url: str) -> str | None:
    """A PING."""
    try:
        with redis.Redis.from_url(url, socket_timeout=_REPLY_SECONDS) as client:
            client.ping()
    except redis.RedisError as error:
        return f"PING: {error}"
    return None


def airflow(address: str, component: str) -> str | None:
    """What Airflow's API says of its `component`: metadatabase, scheduler, dag_processor."""
    url = f"{address}/api/v2/monitor/health"
    try:
        status = (httpx.get(url, timeout=_REPLY_SECONDS).json().get(component) or {}).get("status")
    except (httpx.HTTPError, ValueError) as error:
        return f"{url}: {type(error).__name__}"
    return None if status == "healthy" else f"{url}: {component} is {status}"
