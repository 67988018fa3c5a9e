"""Which tiles of a mart are folded into one: those of a day once it is past for a day, of a month after 31 days.

Invariant: a fold is of adjoining tiles and never of the newest, by which the speed store is trimmed; it covers what
they cover, from the cut of the first to that of the last. Folding what `folds_of` gives leaves nothing to fold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from lake.cuts import format_time
from lake.errors import TileRefused
from lake.marts import Manifest

BY_DAY_AFTER = timedelta(days=1)
BY_MONTH_AFTER = timedelta(days=31)
_SUMMED = ("rows", "events", "good", "quarantined", "markers", "duplicates")


def folds_of(run: Sequence[Manifest], most: int, as_of: datetime | None = None) -> list[list[Manifest]]:
    """What to make one tile each, two tiles or more, oldest first; `run` is a view's unbroken tiles.

    A tile is of the UTC day and month in which it ends: the first tile of all began long before. How long they are past
    counts up to `as_of` (None, or a later one: the frontier). No fold has more than `most` offsets.
    """
    if not run:
        return []
    frontier = run[-1].t1
    until = min(as_of or frontier, frontier)
    found: list[list[Manifest]] = []
    last, events = None, 0
    for tile in run[:-1]:
        period = _period(tile.t1, until)
        if period and period == last and events + tile.events <= most:
            found[-1].append(tile)
            events += tile.events
        else:
            found.append([tile])
            events = tile.events
        last = period
    return [tiles for tiles in found if len(tiles) > 1]


def folded(tiles: Sequence[Manifest]) -> Manifest:
    """The manifest of adjoining tiles made one. Of its rows, several may have one key: see Kernel.merge."""
    first, last = tiles[0], tiles[-1]
    sums = {name: sum(getattr(tile, name) for tile in tiles) for name in _SUMMED}
    return last.model_copy(update={"t0": first.t0, "cut_start": first.cut_start, **sums})


def check_fold(found: Iterable[Manifest], planned: Sequence[Manifest]) -> None:
    """Raise TileRefused unless the tiles found under their names are those that are to be folded."""
    by_name = {tile.tile: tile for tile in found}
    for tile in planned:
        if by_name.get(tile.tile) != tile:
            now = by_name[tile.tile].span if tile.tile in by_name else "gone"
            raise TileRefused(
                f"tile {tile.span} was not folded into [{format_time(planned[0].t0)}, {format_time(planned[-1].t1)}): "
                f"somebody else has committed it since this run looked, it is {now}; run it again"
            )


def _period(end: datetime, until: datetime) -> tuple[int, ...] | None:
    """The month (year, month) or the day (year, month, day) of a tile with this end; None if it is not past enough."""
    last = end - timedelta(microseconds=1)
    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    following_month = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    if following_month + BY_MONTH_AFTER <= until:
        return (day.year, day.month)
    if day + timedelta(days=1) + BY_DAY_AFTER <= until:
        return (day.year, day.month, day.day)
    return None
