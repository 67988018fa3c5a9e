"""The views of `documents`: how many files, how many words, which of them most."""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from tests.reference.events import DAY_MS, Event, floor, grouped, rounded


def _words(text: str | None) -> list[str]:
    """Runs of letters and digits."""
    parts = itertools.groupby((text or "").lower(), lambda character: unicodedata.category(character)[0] in "LN")
    return ["".join(part) for is_word, part in parts if is_word]


def _uses(events: Iterable[Event]) -> Counter[tuple[datetime, str]]:
    return Counter((floor(e["event_time"], DAY_MS), word) for e in events for word in _words(e["text"]))


def _documents(events: Iterable[Event]) -> dict[tuple, tuple]:
    groups = grouped(events, lambda e: (floor(e["event_time"], DAY_MS), e["media_type"]))
    return {
        key: (
            len(group),
            sum(e["text"] is not None for e in group),
            sum(e["bytes"] for e in group),
            max(e["bytes"] for e in group),
        )
        for key, group in groups.items()
    }


def _documents_by_day(events: Iterable[Event]) -> list[dict]:
    columns = ("day", "media_type", "documents", "with_text", "bytes", "largest", "mean_bytes")
    return [
        dict(zip(columns, [*key, *state, rounded(state[2] / state[0], 1)], strict=True))
        for key, state in _documents(events).items()
    ]


def _top_words(events: Iterable[Event]) -> list[dict]:
    days: dict[str, list[tuple[datetime, int]]] = {}
    for (day, word), uses in _uses(events).items():
        if len(word) >= 4:
            days.setdefault(word, []).append((day, uses))
    rows = [
        {
            **{"word": word, "uses": sum(uses for _, uses in found)},
            **{"first_day": min(found)[0], "last_day": max(found)[0]},
        }
        for word, found in days.items()
    ]
    return sorted(rows, key=lambda row: (-row["uses"], row["word"]))[:50]


def _top_words_by_day(events: Iterable[Event]) -> list[dict]:
    rows = [{"day": day, "word": word, "uses": uses} for (day, word), uses in _uses(events).items() if len(word) >= 4]
    rows.sort(key=lambda row: (-row["day"].timestamp(), -row["uses"], row["word"]))
    return [row for _, own in itertools.groupby(rows, lambda row: row["day"]) for row in itertools.islice(own, 10)]


STATES = {
    "documents_by_day": _documents,
    "words_by_day": lambda events: {key: (uses,) for key, uses in _uses(events).items()},
}
ROWS = {
    "documents_by_day": _documents_by_day,
    "words_by_day": lambda events: [
        {"day": day, "word": word, "uses": uses} for (day, word), uses in _uses(events).items()
    ],
    "top_words": _top_words,
    "top_words_by_day": _top_words_by_day,
}
