"""The `watchlist` dimension of the plates domain: which number plates are looked for, why, and by whom.

Invariant: a table is a function of seed and version; each version adds some plates and takes some off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from streaming.events.plates import PLATES, plate_text

HEADER = ("key", "reason", "owner_unit", "since")
_REASONS = {"stolen": 5, "uninsured": 3, "unpaid toll": 2}
_UNITS = ["north precinct", "south precinct", "toll office"]
_LISTED, _CHANGED = 60, 6


def watchlist(seed: int, version: int) -> Iterator[tuple[str, ...]]:
    """The rows of a version (1, 2, ...)."""
    rng = random.Random(f"watchlist {seed}")
    listed = {number: _row(rng, 1) for number in rng.sample(range(PLATES), _LISTED)}
    for later in range(2, version + 1):
        rng = random.Random(f"watchlist {seed} {later}")
        for number in rng.sample(sorted(listed), _CHANGED):
            del listed[number]
        for number in rng.sample([n for n in range(PLATES) if n not in listed], _CHANGED):
            listed[number] = _row(rng, later)
    for number, row in sorted(listed.items()):
        yield plate_text(number), *row


def _row(rng: random.Random, version: int) -> tuple[str, ...]:
    reason = rng.choices([*_REASONS], [*_REASONS.values()])[0]
    return reason, rng.choice(_UNITS), str(version)
