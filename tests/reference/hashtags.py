"""The views of `hashtags`: the tags used most in five minutes and in an hour."""

from __future__ import annotations

from collections.abc import Iterable

from tests.reference.events import HOUR_MS, MINUTE_MS, Event, floor, grouped, rounded
from tests.reference.sketches import estimate, registers


def _uses(events: Iterable[Event], step: int) -> dict[tuple, list[Event]]:
    """(start, tag) -> a message for each time that it was used."""
    uses = [e | {"tag": tag.lower()} for e in events for tag in e["tags"]]
    return grouped(uses, lambda e: (floor(e["event_time"], step), e["tag"]))


def _top(rows: list[dict], time: str, limit: int) -> list[dict]:
    """The newest first, in each the tags used most; equals by name."""
    rows = sorted(rows, key=lambda row: (-row[time].timestamp(), -row["uses"], row["tag"]))
    starts: dict[object, int] = {}
    shown = []
    for row in rows:
        starts[row[time]] = starts.get(row[time], 0) + 1
        if starts[row[time]] <= limit:
            shown.append(row)
    return shown


def _by_5_minutes(events: Iterable[Event]) -> list[dict]:
    groups = _uses(events, 5 * MINUTE_MS)
    return _top([{"start": s, "tag": tag, "uses": len(group)} for (s, tag), group in groups.items()], "start", 10)


def _by_hour(events: Iterable[Event]) -> list[dict]:
    rows = []
    for (hour, tag), group in _uses(events, HOUR_MS).items():
        authors = estimate(e["author"] for e in group)
        rows.append(
            {
                **{"hour": hour, "tag": tag, "uses": len(group), "authors": authors},
                "uses_per_author": rounded(len(group) / authors, 2),
            }
        )
    return _top(rows, "hour", 20)


STATES = {
    "trending_by_5_minutes": lambda events: {key: (len(group),) for key, group in _uses(events, 5 * MINUTE_MS).items()},
    "trending_by_hour": lambda events: {
        key: (len(group), registers(e["author"] for e in group)) for key, group in _uses(events, HOUR_MS).items()
    },
}
ROWS = {"trending_by_5_minutes": _by_5_minutes, "trending_by_hour": _by_hour}
