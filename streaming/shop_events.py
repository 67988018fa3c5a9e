"""Invented events of the `shop` domain, seeded: a stream of (key, value, kind), good ones and bad ones.

Invariant: the same seed, shares and clock give the same stream. Fields as in lake/domains/shop.yaml.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Templates are picked, not made, for each event: enough of them that users and amounts look random.
_TEMPLATES = 1 << 14
_USERS = 20_000
_COUNTRIES = {"DE": 30, "FR": 20, "GB": 15, "IT": 10, "ES": 10, "PL": 8, "NL": 5, "AT": 2}
_PAGES = ["/", "/search", "/cart", "/checkout", "/help", *(f"/category/{n}" for n in range(1, 7))]
_PRODUCTS = [f"sku-{n:04d}" for n in range(1, 201)]
_TYPES = {"page_view": 70, "basket_add": 12, "order": 6, "login": 7, "logout": 5}
_RECENT = 1024
_HOUR_MS = 3_600_000

GOOD, DUPLICATE = "good", "duplicate"
BAD = ("bad_utf8", "truncated", "wrong_type", "null_value", "missing_field")


@dataclass(frozen=True)
class Shares:
    """Of all events: how many come late, are sent twice, are malformed (0 to 1 each)."""

    late: float = 0.03
    duplicates: float = 0.01
    malformed: float = 0.005


Record = tuple[bytes, bytes | None, str]


def shop_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Events without end; kind is `good`, `duplicate` (an earlier good one, byte for byte) or one of BAD.

    Event times lie within the last `history_ms`, late ones 1 minute to 6 hours before that.
    """
    rng = random.Random(seed)
    chance, bits = rng.random, rng.getrandbits
    templates = [_template(rng) for _ in range(_TEMPLATES)]
    # Names the run, so that events of a second run with this seed are not taken for duplicates.
    run = b"%x-%x" % (seed, clock_ms())
    recent: list[tuple[bytes, bytes]] = []
    special = shares.duplicates + shares.malformed
    number = 0
    while True:
        number += 1
        event_time = clock_ms() - int(history_ms * chance())
        if chance() < shares.late:
            event_time -= 60_000 + int(6 * _HOUR_MS * chance() ** 3)
        key, rest = templates[bits(14)]
        value = b'{"event_id":"%b-%d","event_time":%d,%b' % (run, number, event_time, rest)
        if (dice := chance()) < special:
            if dice >= shares.malformed and recent:
                yield *recent[rng.randrange(len(recent))], DUPLICATE
            elif dice < shares.malformed:
                kind = BAD[rng.randrange(len(BAD))]
                yield key, _spoiled(value, kind), kind
            continue
        if len(recent) < _RECENT:
            recent.append((key, value))
        elif number % 7 == 0:
            recent[bits(10)] = (key, value)
        yield key, value, GOOD


def _template(rng: random.Random) -> tuple[bytes, bytes]:
    """(key, the end of a JSON object): all of an event but its id and time."""
    number = int(_USERS * rng.random() ** 2)
    user = f"user-{number:05d}"
    # A user's country never changes: it is a function of the number.
    country = random.Random(number).choices([*_COUNTRIES], [*_COUNTRIES.values()])[0]
    kind = rng.choices([*_TYPES], [*_TYPES.values()])[0]
    event: dict[str, str | int] = {"event_type": kind, "user_id": user, "country": country}
    if kind == "page_view":
        event["page"] = _PAGES[int(len(_PAGES) * rng.random() ** 1.5)]
    if kind in ("basket_add", "order"):
        event |= {"product": rng.choice(_PRODUCTS), "quantity": rng.randint(1, 5)}
    if kind == "order":
        event["amount"] = f"{rng.randint(3, 400)}.{rng.randrange(100):02d}"
    return user.encode(), json.dumps(event, separators=(",", ":"))[1:].encode()


def _spoiled(value: bytes, kind: str) -> bytes | None:
    match kind:
        case "bad_utf8":
            return value.replace(b'"country":"', b'"country":"\xff\xfe')
        case "truncated":
            return value[: len(value) * 2 // 3]
        case "wrong_type":
            return value.replace(b'"event_time":', b'"event_time":"yesterday","was":')
        case "null_value":
            return None
        case "missing_field":
            return value.replace(b'"user_id"', b'"visitor"')
    raise AssertionError(kind)
