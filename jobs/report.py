"""What a build has done, view by view: for people as a table, for programs as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Built:
    """What became of one view's tile: 'append' and 'replace' were committed, 'present' was there already."""

    view: str
    action: str
    t0: str
    t1: str
    rows: int
    events: int
    good: int
    quarantined: int
    markers: int
    duplicates: int
    seconds: float


def report(built: Sequence[Built], seconds: float) -> str:
    """The outcome as a table."""
    names = ("view", "tile", "rows", "events", "good", "quarantined", "markers", "duplicates", "action", "seconds")
    lines = [names] + [
        (
            b.view,
            f"{b.t0} .. {b.t1}",
            *map(str, (b.rows, b.events, b.good, b.quarantined, b.markers, b.duplicates)),
            b.action,
            str(b.seconds),
        )
        for b in built
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*table, f"{seconds:.1f} s in all"])
