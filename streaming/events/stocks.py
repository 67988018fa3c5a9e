"""Invented events of the `stocks` domain: trades whose prices wander, with an hour of heavy trading now and then.

Invariant: a price is a function of seed, symbol and time, give or take a few cents a trade.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from streaming.events.stream import HOUR_MS, Record, Shares, stream

SYMBOLS = {"ACME": 4_000, "BOLT": 12_500, "CORK": 780, "DUNE": 2_350, "ECHO": 31_000, "FLUX": 560, "GALE": 9_900}
"""Around what price each is traded, in cents."""
_VENUES = ("XETR", "XPAR", "XLON")
_MINUTE_MS = 60_000
_BURST_EVERY, _BURST_TIMES = 5, 8


def stock_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Keyed by symbol, so that a trade that is sent twice is twice in one partition."""
    rng = random.Random(f"stocks {seed}")
    chance, bits = rng.random, rng.getrandbits
    symbols = list(SYMBOLS.items())
    phases = [rng.random() * 2 * math.pi for _ in symbols]
    ends = [f'"symbol":"{name}","venue":"{venue}"}}'.encode() for name in SYMBOLS for venue in _VENUES]
    keys = [name.encode() for name in SYMBOLS]
    middles: dict[tuple[int, int], int] = {}

    def middle(number: int, minute: int) -> int:
        """The price in cents around which a minute's trades lie: a slow and a quick wave."""
        if len(middles) > 100_000:
            middles.clear()
        base, phase = symbols[number][1], phases[number]
        wave = 0.05 * math.sin(minute / 173 + phase) + 0.01 * math.sin(minute / 7 + 3 * phase)
        middles[number, minute] = cents = int(base * (1 + wave))
        return cents

    def make(event_id: bytes, event_time: int) -> tuple[bytes, bytes]:
        number = int(len(keys) * chance())
        minute = event_time // _MINUTE_MS
        cents = middles.get((number, minute)) or middle(number, minute)
        cents += bits(5) - 16
        quantity = 1 + bits(6)
        if (event_time // HOUR_MS + number) % _BURST_EVERY == 0:
            quantity *= _BURST_TIMES
        end = ends[number * len(_VENUES) + int(len(_VENUES) * chance())]
        return keys[number], b'{"event_id":"%b","event_time":%d,"price":"%d.%02d","quantity":%d,%b' % (
            *(event_id, event_time),
            *divmod(cents, 100),
            *(quantity, end),
        )

    return stream(seed, shares, clock_ms, history_ms, make)
