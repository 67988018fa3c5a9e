"""Which tiles are not what raw gives any more, once records of one subject are erased.

Invariant: a tile that counts as many markers as raw has between its cuts was built after every erasure there. With
dedup, a tile that begins within the window after a stale one is stale, too: an event may be a duplicate no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from lake.domain import Domain
from lake.marts import Manifest
from lake.stored_views import StoredVersion
from lake.subject_records import SubjectRecords

Tiles = dict[tuple[datetime, datetime], list[str]]
"""[t0, t1) of tiles, each with the views that have it."""


def stale_tiles(version: StoredVersion, found: SubjectRecords, segment_seconds: int) -> Tiles:
    """The tiles to build anew. Newest first, so that one is done before the one whose being stale makes it stale."""
    reach, tiles = window(version.domain, segment_seconds), Tiles()
    for view in version.views:
        behind = [t for t in view.tiles if t.markers < found.markers_in(t.cut_start, t.cut_end)]
        for tile in view.tiles:
            if tile in behind or any(_reaches(old, tile, reach) for old in behind):
                tiles.setdefault((tile.t0, tile.t1), []).append(view.name)
    return dict(sorted(tiles.items(), reverse=True))


def window(domain: Domain, segment_seconds: int) -> timedelta:
    """How long an event can make later ones duplicates; nothing where the domain declares no dedup."""
    return timedelta(seconds=domain.dedup.segments * segment_seconds if domain.dedup else 0)


def counted(tiles: Iterable[Tiles]) -> dict[str, int]:
    """How many tiles there are of each view."""
    views: Sequence[str] = [view for found in tiles for names in found.values() for view in names]
    return {view: views.count(view) for view in dict.fromkeys(views)}


def _reaches(before: Manifest, tile: Manifest, reach: timedelta) -> bool:
    return before.t1 <= tile.t0 < before.t1 + reach
