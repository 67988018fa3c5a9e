"""Invented events of the `plates` domain: cars that cameras read the number plates of."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from streaming.events.stream import Record, Shares, picked, stream

PLATES = 2_000
_CAMERAS = [f"{road}-{place}" for road in ("A1", "A2", "ring", "harbour") for place in ("north", "mid", "south")]
_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_TEMPLATES = 1 << 14


def plate_text(number: int) -> str:
    """The plate of a car: a function of its number, another one for each."""
    rng = random.Random(number)
    return f"{rng.choice(_LETTERS)}{rng.choice(_LETTERS)} {number:04d} {rng.choice(_LETTERS)}{rng.choice(_LETTERS)}"


def plate_events(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int = 0) -> Iterator[Record]:
    """Keyed by plate, so a reading that is sent twice is twice in one partition."""
    rng = random.Random(f"plates {seed}")
    templates = [_template(rng) for _ in range(_TEMPLATES)]
    return stream(seed, shares, clock_ms, history_ms, picked(rng, templates))


def _template(rng: random.Random) -> tuple[bytes, bytes]:
    plate = plate_text(int(PLATES * rng.random() ** 1.5))
    camera = rng.choice(_CAMERAS)
    # Most readings are sure; some are hardly readable.
    confidence = round(1 - 0.6 * rng.random() ** 4, 3)
    rest = f'"plate":"{plate}","camera":"{camera}","confidence":{confidence},"speed_kmh":{rng.randint(20, 160)}}}'
    return plate.encode(), rest.encode()
