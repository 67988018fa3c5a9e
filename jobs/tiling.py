"""Which tiles of a view a request for [t0, t1) means: those that are there, those to be built again, and what is new.

Invariant: the same request again, after it was carried out or killed in the middle, means the same tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lake.cuts import EPOCH, format_time
from lake.errors import TileRefused
from lake.marts import Manifest


@dataclass(frozen=True)
class Tiling:
    """`present` are done; `again` are [t0, t1) of tiles to replace as they are; `rest` is where new ones begin."""

    present: Sequence[Manifest] = ()
    again: Sequence[tuple[datetime, datetime]] = ()
    rest: datetime | None = None


def tiling_of(view: str, run: Sequence[Manifest], t0: datetime | None, t1: datetime) -> Tiling:
    """What [t0, t1) means for a view with this unbroken run of tiles; t0 None is its frontier.

    What equals no tiles and does not begin at the frontier is given back in `again`, to be refused with its cuts.
    Raises TileRefused if t0 is None and the frontier lies beyond t1.
    """
    frontier = run[-1].t1 if run else EPOCH
    if t0 is None:
        if frontier > t1:
            raise TileRefused(
                f"{view} is built up to {format_time(frontier)} already, beyond t1 {format_time(t1)}; "
                "to rebuild a tile give its t0 and t1"
            )
        return Tiling(rest=frontier) if frontier < t1 else Tiling(present=run[-1:])
    within = [m for m in run if t0 <= m.t0 and m.t1 <= t1]
    if within and within[0].t0 == t0:
        if within[-1].t1 == t1:
            return Tiling(again=[(m.t0, m.t1) for m in within])
        if within[-1].t1 == frontier:  # a run that was split has been killed in the middle
            return Tiling(present=within, rest=frontier)
    return Tiling(rest=t0) if t0 == frontier else Tiling(again=[(t0, t1)])
