"""The views of `plates`: who was seen where, first and last, and who of them is looked for."""

from __future__ import annotations

from collections.abc import Iterable

from tests.reference.events import Event, first, grouped, last, moment


def _sure(events: Iterable[Event]) -> list[Event]:
    return [e for e in events if e["confidence"] >= 0.7]


def _listed(events: Iterable[Event]) -> list[Event]:
    return [e for e in _sure(events) if e.get("watchlist.reason") is not None]


def _span(group: list[Event]) -> tuple:
    times = [e["event_time"] for e in group]
    return len(group), moment(min(times)), moment(max(times))


def _sightings(events: Iterable[Event]) -> dict[tuple, tuple]:
    groups = grouped(_sure(events), lambda e: (e["plate"], e["camera"]))
    return {key: (*_span(group), max(e["confidence"] for e in group)) for key, group in groups.items()}


def _last_seen(events: Iterable[Event]) -> dict[tuple, tuple]:
    groups = grouped(_sure(events), lambda e: (e["plate"],))
    return {
        key: (*_span(group), first(group, "camera"), last(group, "camera"), max(e["speed_kmh"] for e in group))
        for key, group in groups.items()
    }


def _hits(events: Iterable[Event]) -> dict[tuple, tuple]:
    groups = grouped(_listed(events), lambda e: (e["plate"], e["watchlist.reason"], e["watchlist.owner_unit"]))
    return {key: (*_span(group), last(group, "camera")) for key, group in groups.items()}


def _rows(states: dict[tuple, tuple], columns: str) -> list[dict]:
    """A row a key; where something stands is not shown, what it is, is."""
    shown = []
    for key, state in states.items():
        values = [part["value"] if isinstance(part, dict) else part for part in state]
        shown.append(dict(zip(columns.split(), [*key, *values], strict=True)))
    return shown


def _newest_first(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (-row["last_seen"].timestamp(), *(v for v in row.values() if type(v) is str)))


STATES = {"sightings_by_plate_camera": _sightings, "plates_last_seen": _last_seen, "watchlist_hits": _hits}
ROWS = {
    "sightings_by_plate_camera": lambda events: _rows(
        _sightings(events), "plate camera sightings first_seen last_seen best_confidence"
    ),
    "plates_last_seen": lambda events: _newest_first(
        _rows(_last_seen(events), "plate sightings first_seen last_seen first_camera last_camera top_speed")
    ),
    "watchlist_hits": lambda events: _newest_first(
        _rows(_hits(events), "plate reason owner_unit hits first_seen last_seen last_camera")
    ),
}
