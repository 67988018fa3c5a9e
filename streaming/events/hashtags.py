"""Invented events of the `hashtags` domain: short messages with tags, of which another few are in fashion each hour."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from streaming.events.stream import HOUR_MS, Record, Shares, stream

_TEMPLATES = 1 << 13
_AUTHORS = 5_000
_EVERYDAY = [
    *("news", "music", "football", "cats", "weather", "coffee", "travel", "books", "film", "cooking", "garden"),
    *("photo", "cycling", "jazz", "opensource", "history", "maths", "running", "déjàvu", "köln", "東京"),
]
_FASHIONS = [
    *("election", "finale", "storm", "strike", "eclipse", "derby", "blackout", "premiere", "snow", "marathon"),
    *("launch", "heatwave", "festival", "transfer", "quake", "carnival"),
]
_IN_FASHION, _FASHIONABLE = 3, 0.35


def hashtag_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Keyed by author."""
    rng = random.Random(f"hashtags {seed}")
    chance, bits = rng.random, rng.getrandbits
    everyday = [_template(rng, _EVERYDAY) for _ in range(_TEMPLATES)]
    fashions: dict[int, list[tuple[bytes, bytes]]] = {}

    def fashionable(hour: int) -> list[tuple[bytes, bytes]]:
        """Messages about what that hour talks about."""
        if len(fashions) > 48:
            fashions.clear()
        own = random.Random(f"hashtags {seed} {hour}")
        topics = own.sample(_FASHIONS, _IN_FASHION)
        fashions[hour] = [_template(own, topics) for _ in range(_TEMPLATES >> 4)]
        return fashions[hour]

    def make(event_id: bytes, event_time: int) -> tuple[bytes, bytes]:
        if chance() < _FASHIONABLE:
            hour = event_time // HOUR_MS
            key, rest = (fashions.get(hour) or fashionable(hour))[bits(9)]
        else:
            key, rest = everyday[bits(13)]
        return key, b'{"event_id":"%b","event_time":%d,%b' % (event_id, event_time, rest)

    return stream(seed, shares, clock_ms, history_ms, make)


def _template(rng: random.Random, tags: list[str]) -> tuple[bytes, bytes]:
    """People write their tags as they like: ACME, Acme and acme are one."""
    author = f"author-{int(_AUTHORS * rng.random() ** 2):04d}"
    number = rng.choices([0, 1, 2, 3, 4], [10, 40, 30, 15, 5])[0]
    picked = [tags[int(len(tags) * rng.random() ** 1.7)] for _ in range(number)]
    written = [rng.choice((str.lower, str.lower, str.title, str.upper))(tag) for tag in picked]
    message = {"author": author, "tags": written, "text": " ".join(["look!", *(f"#{tag}" for tag in written)])}
    return author.encode(), json.dumps(message, separators=(",", ":"), ensure_ascii=False)[1:].encode()
