"""The views of `stocks`: candles, and hours with much more trade than the hour before."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from tests.reference.events import DAY_MS, HOUR_MS, MINUTE_MS, Event, first, floor, grouped, last, rounded


def _typed(events: Iterable[Event]) -> list[Event]:
    return [e | {"price": Decimal(e["price"])} for e in events]


def _candle_groups(events: Iterable[Event], step: int) -> dict[tuple, list[Event]]:
    return grouped(_typed(events), lambda e: (e["symbol"], floor(e["event_time"], step)))


def _candle_states(events: Iterable[Event], step: int) -> dict[tuple, tuple]:
    return {
        key: (
            first(group, "price"),
            max(e["price"] for e in group),
            min(e["price"] for e in group),
            last(group, "price"),
            sum(e["quantity"] for e in group),
            sum(e["price"] * e["quantity"] for e in group),
            len(group),
        )
        for key, group in _candle_groups(events, step).items()
    }


def _candles(events: Iterable[Event], step: int, time: str) -> list[dict]:
    rows = []
    for (symbol, start), state in _candle_states(events, step).items():
        opened, high, low, closed, volume, turnover, trades = state
        rows.append(
            {
                **{"symbol": symbol, time: start},
                **{"open": opened["value"], "high": high, "low": low, "close": closed["value"]},
                **{"volume": volume, "turnover": turnover, "trades": trades},
                "vwap": rounded(float(turnover) / volume, 4),
            }
        )
    return rows


def _hours(events: Iterable[Event]) -> dict[tuple[str, int], list[Event]]:
    return grouped(_typed(events), lambda e: (e["symbol"], e["event_time"] // HOUR_MS))  # type: ignore[return-value]


def _spike_states(events: Iterable[Event]) -> dict[tuple, tuple]:
    """Also of hours that had trades only in the hour before."""
    hours = _hours(events)
    keys = {*hours, *((symbol, hour + 1) for symbol, hour in hours)}
    states = {}
    for symbol, hour in keys:
        own, before = hours.get((symbol, hour), []), hours.get((symbol, hour - 1), [])
        states[symbol, floor(hour * HOUR_MS, HOUR_MS)] = (
            sum(e["quantity"] for e in own) or None,
            sum(e["quantity"] for e in before) or None,
            len(own),
        )
    return states


def _spikes(events: Iterable[Event]) -> list[dict]:
    rows = [
        {
            **{"symbol": symbol, "hour": hour, "volume": volume, "volume_before": before, "trades": trades},
            "times": rounded(volume / before, 2),
        }
        for (symbol, hour), (volume, before, trades) in _spike_states(events).items()
        if volume and before and rounded(volume / before, 2) >= 3
    ]
    return sorted(rows, key=lambda row: (-row["hour"].timestamp(), -row["times"], row["symbol"]))


STATES = {
    "candles_by_minute": lambda events: _candle_states(events, MINUTE_MS),
    "candles_by_day": lambda events: _candle_states(events, DAY_MS),
    "spikes_by_hour": _spike_states,
}
ROWS = {
    "candles_by_minute": lambda events: _candles(events, MINUTE_MS, "minute"),
    "candles_by_day": lambda events: _candles(events, DAY_MS, "day"),
    "spikes_by_hour": _spikes,
}
