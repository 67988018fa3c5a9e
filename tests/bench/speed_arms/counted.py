"""What every script of an arm shares: what it is told, which events it counts, and where its answer goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import redis

try:
    from orjson import loads
except ImportError:
    from json import loads

HOUR_MS, MINUTE_MS = 3_600_000, 60_000


@dataclass(frozen=True)
class Told:
    """Where Kafka and the store are, the topic, the hashes for the answer, and a folder for state."""

    bootstrap: str
    topic: str
    partitions: int
    store: str
    events: str
    cents: str
    folder: str
    jars: str
    prism: str


def read_told() -> Told:
    return Told(**json.load(sys.stdin))


def counted(value: bytes) -> tuple[str, int] | None:
    """(row, cents) of an order or a page view; None for every other event, and for what is no event."""
    try:
        event = loads(value)
    except ValueError:
        return None
    kind = event["event_type"]
    if kind == "order":
        at = event["event_time"] // HOUR_MS * HOUR_MS
        return f"order|{event['country']}|{at}", int(event["amount"].replace(".", ""))
    if kind == "page_view":
        at = event["event_time"] // MINUTE_MS * MINUTE_MS
        return f"page_view|{event['page']}|{at}", 0
    return None


class Answer:
    """The two hashes of the store, written in one round trip a call."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._client: Any = redis.Redis.from_url(told.store)

    def put(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """(row, events, cents) as they now are."""
        rows = list(rows)
        if rows:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hset(self._told.cents, mapping={row: cents for row, _, cents in rows})
                pipeline.hset(self._told.events, mapping={row: events for row, events, _ in rows})
                pipeline.execute()

    def add(self, rows: Iterable[tuple[str, int, int]]) -> None:
        """(row, events, cents) that come on top of what is there."""
        with self._client.pipeline(transaction=False) as pipeline:
            for row, events, cents in rows:
                pipeline.hincrby(self._told.cents, row, cents)
                pipeline.hincrby(self._told.events, row, events)
            pipeline.execute()
