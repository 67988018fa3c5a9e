"""Invented events of the `shop` domain: visits, orders, and the refunds that correct them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from streaming.events.stream import Record, Shares, picked, stream
from streaming.events.users import USERS, home_country, user_key

_TEMPLATES = 1 << 14
_PAGES = ["/", "/search", "/cart", "/checkout", "/help", *(f"/category/{n}" for n in range(1, 7))]
_PRODUCTS = [f"sku-{n:04d}" for n in range(1, 201)]
_TYPES = {"page_view": 140, "basket_add": 24, "order": 12, "login": 14, "logout": 9, "refund": 1}


def shop_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Keyed by user, so what one user does stays in order."""
    rng = random.Random(f"shop {seed}")
    templates = [_template(rng) for _ in range(_TEMPLATES)]
    return stream(seed, shares, clock_ms, history_ms, picked(rng, templates))


def _template(rng: random.Random) -> tuple[bytes, bytes]:
    """(key, the end of a JSON object): all of an event but its id and time."""
    number = int(USERS * rng.random() ** 2)
    user = user_key(number)
    kind = rng.choices([*_TYPES], [*_TYPES.values()])[0]
    event: dict[str, str | int] = {"event_type": kind, "user_id": user, "country": home_country(number)}
    if kind == "page_view":
        event["page"] = _PAGES[int(len(_PAGES) * rng.random() ** 1.5)]
    if kind in ("basket_add", "order", "refund"):
        event |= {"product": rng.choice(_PRODUCTS), "quantity": rng.randint(1, 5)}
    if kind in ("order", "refund"):
        event["amount"] = f"{rng.randint(3, 400)}.{rng.randrange(100):02d}"
    return user.encode(), json.dumps(event, separators=(",", ":"))[1:].encode()
