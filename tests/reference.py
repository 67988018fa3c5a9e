"""The two `shop` views in plain Python: what the kernel's states must be, computed without any of its code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reference:
    """States of good events, added one by one; sums and counts need no order."""

    def __init__(self, events: Iterable[dict] = ()) -> None:
        self.revenue: dict[tuple[str, int], list] = {}
        self.visitors: dict[tuple[str | None, int], list] = {}
        for event in events:
            self.add(event)

    def add(self, event: dict) -> None:
        if event["event_type"] == "order":
            key = (event["country"], _floor(event["event_time"], HOUR_MS))
            state = self.revenue.setdefault(key, [None, 0])
            if event.get("amount") is not None:
                state[0] = (state[0] or Decimal(0)) + Decimal(str(event["amount"]))
            state[1] += 1
        if event["event_type"] == "page_view":
            page_key = (event.get("page"), _floor(event["event_time"], MINUTE_MS))
            state = self.visitors.setdefault(page_key, [0, {}])
            state[0] += 1
            register, rank = _register_and_rank(event["user_id"])
            state[1][register] = max(rank, state[1].get(register, 0))

    def states(self, view: str) -> dict[tuple, tuple]:
        """key -> state of every row, in the kernel's types."""
        if view == "revenue_by_country_hour":
            return {(c, _time(ms)): tuple(state) for (c, ms), state in self.revenue.items()}
        return {
            (page, _time(ms)): (count, [register << 6 | rank for register, rank in sorted(registers.items())])
            for (page, ms), (count, registers) in self.visitors.items()
        }


def _register_and_rank(text: str) -> tuple[int, int]:
    """HyperLogLog over the low half of MD5: 12 bits name the register, the rank counts trailing zeros of the others."""
    hashed = int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little")
    register, rest = hashed >> 52, hashed % (1 << 52)
    rank = 1
    while rank < 53 and rest % 2 == 0:
        rest //= 2
        rank += 1
    return register, rank


def _floor(ms: int, step: int) -> int:
    return ms - ms % step


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
