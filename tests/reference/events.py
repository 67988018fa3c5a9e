"""Events in plain Python: grouped, put in the order they happened in, their times made whole hours or days."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Event = dict[str, Any]


def grouped(events: Iterable[Event], key: Callable[[Event], tuple]) -> dict[tuple, list[Event]]:
    groups: dict[tuple, list[Event]] = {}
    for event in events:
        groups.setdefault(key(event), []).append(event)
    return groups


def place(event: Event) -> tuple[int, int, int]:
    """What decides which of two events happened later."""
    return event["event_time"], event["partition"], event["offset"]


def first(events: Iterable[Event], field: str) -> dict | None:
    """The state of `first`: NULLs count for nothing."""
    return _placed([e for e in events if e.get(field) is not None], field, min)


def last(events: Iterable[Event], field: str) -> dict | None:
    return _placed([e for e in events if e.get(field) is not None], field, max)


def _placed(events: list[Event], field: str, pick: Callable[..., Event]) -> dict | None:
    if not events:
        return None
    event = pick(events, key=place)
    at = {"event_time": moment(event["event_time"]), "partition": event["partition"], "offset": event["offset"]}
    return {"place": at, "value": event[field]}


def rounded(number: float, digits: int) -> float:
    """Half goes up, as SQL has it; Python's own round goes to the even digit."""
    return math.floor(number * 10**digits + 0.5) / 10**digits


def floor(ms: int, step: int) -> datetime:
    return moment(ms - ms % step)


def moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
