"""The users of the invented shop, and the `users` dimension: where each lives, and in which tier.

Invariant: a table is a function of seed and version; from one version to the next about 10 % of the users change.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

USERS = 20_000
HEADER = ("key", "country", "tier")
_COUNTRIES = {"DE": 30, "FR": 20, "GB": 15, "IT": 10, "ES": 10, "PL": 8, "NL": 5, "AT": 2}
_TIERS = {"free": 80, "plus": 15, "pro": 5}
_CHANGED = 0.1


def user_key(number: int) -> str:
    return f"user-{number:05d}"


@cache
def home_country(number: int) -> str:
    """Where a user's events come from: it never changes."""
    return random.Random(number).choices([*_COUNTRIES], [*_COUNTRIES.values()])[0]


def users(seed: int, version: int) -> Iterator[tuple[str, ...]]:
    """The rows of a version (1, 2, ...): first all at home, then some move, and some change their tier."""
    rng = random.Random(f"users {seed}")
    rows = {n: (home_country(n), rng.choices([*_TIERS], [*_TIERS.values()])[0]) for n in range(USERS)}
    for later in range(2, version + 1):
        rng = random.Random(f"users {seed} {later}")
        for number in rng.sample(range(USERS), int(USERS * _CHANGED)):
            country, tier = rows[number]
            rows[number] = (rng.choice([*_COUNTRIES]), tier) if rng.random() < 0.5 else (country, rng.choice([*_TIERS]))
    for number, row in rows.items():
        yield user_key(number), *row
