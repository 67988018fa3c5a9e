"""Computes tiles anew from raw: `python -m jobs.rebuild_marts --domain shop --from 2026-11-01T00:00:00Z`.

Invariant: each tile is replaced by a build under its own cuts, so the tiling and the frontier stay as they are. A tile
that comes out otherwise was wrong before; that is told. A run that was killed, or refused a tile, is run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

import numpy as np

from jobs.build_mart import Build
from jobs.program import Say, argument_parser, say
from jobs.report import Built
from jobs.state_hashes import differing, digest, hash_tile
from lake.cuts import EPOCH, format_time, parse_time
from lake.domain import Domain
from lake.errors import TidemarkError, TileRefused, exit_on_error
from lake.expressions import nearest
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Manifest, mart_uri, tiles_by_view
from lake.registry import live_domain
from lake.settings import Settings, load_settings

Runs = Mapping[str, Sequence[Manifest]]
"""The unbroken run of tiles of each view."""


@dataclass(frozen=True)
class Rebuilt:
    """One view's tile: `differing` of its rows were not as raw gives them; `digest` names the states it has now."""

    view: str
    t0: str
    t1: str
    rows_before: int
    rows: int
    differing: int
    digest: str


@dataclass
class Rebuild:
    """What a run has done."""

    tiles: list[Rebuilt] = field(default_factory=list)
    refused: list[TidemarkError] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many tiles were wrong before."""
        return sum(tile.differing > 0 for tile in self.tiles)


def rebuild(
    settings: Settings, domain: Domain, views: Sequence[str] | None, start: datetime, end: datetime | None, say: Say
) -> Rebuild:
    """Replace every tile in [start, end) (None: up to the frontier) of the views (None: all), oldest first.

    Views that have the same tile share one pass over raw. Raises TileRefused if a tile lies only partly in there, or
    none does.
    """
    kernel, result = Kernel(domain), Rebuild()
    runs = _runs(settings, domain, kernel, views)
    uris = {view: mart_uri(settings, domain.name, view, kernel.definition_hash(view)) for view in runs}

    def hashes(view: str, tile: str) -> np.ndarray:
        return hash_tile(settings, uris[view], tile, kernel.schema(view))

    passes = sorted(_inside(runs, start, end).items())
    for number, ((t0, t1), group) in enumerate(passes, 1):
        say(f"tile {number} of {len(passes)}: [{format_time(t0)}, {format_time(t1)}) of {', '.join(group)}")
        before = {view: hashes(view, format_time(t0)) for view in group}
        build = Build(settings, domain, t1, say)
        build.build_tiles(group, t0)
        result.refused += build.refused
        for built in build.built:
            tile = _compared(built, before[built.view], hashes(built.view, built.t0))
            result.tiles.append(tile)
            _tell(tile, say)
    return result


def _runs(settings: Settings, domain: Domain, kernel: Kernel, views: Sequence[str] | None) -> Runs:
    known = [*domain.stored_views, QUARANTINE]
    for view in views or ():
        if view not in known:
            raise TidemarkError(f"domain '{domain.name}' has no view '{view}'; {nearest(view, known)}")
    return tiles_by_view(settings, domain.name, kernel, known if views is None else views)


def _inside(runs: Runs, start: datetime, end: datetime | None) -> dict[tuple[datetime, datetime], list[str]]:
    """The tiles in [start, end), each with the views that have it. Raises TileRefused."""
    for option, t in (("--from", start), ("--to", end)):
        for view, run in runs.items():
            if t is not None and (cut := next((tile for tile in run if tile.t0 < t < tile.t1), None)):
                raise TileRefused(
                    f"{option} {format_time(t)} lies within tile {cut.span} of {view}, and a tile is rebuilt as a "
                    f"whole; use {option} {' or '.join(format_time(good) for good in _around(runs, t))}"
                )
    found: dict[tuple[datetime, datetime], list[str]] = {}
    for view, run in runs.items():
        for tile in run:
            if tile.t0 >= start and (end is None or tile.t1 <= end):
                found.setdefault((tile.t0, tile.t1), []).append(view)
    if not found:
        frontier = max((run[-1].t1 for run in runs.values() if run), default=EPOCH)
        to = f"and before {format_time(end)} " if end else ""
        raise TileRefused(
            f"no tile lies from {format_time(start)} on {to}in {', '.join(runs)}; they are built up to "
            f"{format_time(frontier)}; to build new ones run `python -m jobs.build_mart`"
        )
    return found


def _around(runs: Runs, t: datetime) -> list[datetime]:
    """The last time before `t` and the first one after it that lie within no tile of any view."""
    tiles = [tile for run in runs.values() for tile in run]
    good = [
        moment
        for moment in sorted({EPOCH, *(tile.t1 for tile in tiles)})
        if not any(tile.t0 < moment < tile.t1 for tile in tiles)
    ]
    return [max(m for m in good if m < t), min(m for m in good if m > t)]


def _compared(built: Built, before: np.ndarray, after: np.ndarray) -> Rebuilt:
    rows = len(before), len(after)
    return Rebuilt(built.view, built.t0, built.t1, *rows, differing(before, after), digest(after))


def _tell(tile: Rebuilt, say: Say) -> None:
    span = f"{tile.view} [{tile.t0}, {tile.t1})"
    if tile.differing:
        say(
            f"{span} WAS WRONG: {tile.differing} of its rows differ from what raw gives "
            f"({tile.rows_before} rows before, {tile.rows} now); it is replaced"
        )
    else:
        say(f"{span}: its {tile.rows} rows were right")


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        done = rebuild(
            settings,
            domain,
            arguments.views,
            arguments.start,
            arguments.end,
            say,
        )
        seconds = round(time.monotonic() - began, 1)
        if arguments.json:
            told = {"domain": domain.name, "tiles": [asdict(tile) for tile in done.tiles], "changed": done.changed}
            print(json.dumps(told | {"refused": [str(refusal) for refusal in done.refused], "seconds": seconds}))
        else:
            print(f"{len(done.tiles)} tiles rebuilt, {done.changed} of them were wrong before; {seconds} s in all")
        if done.refused:
            raise TileRefused("\n".join(str(refusal) for refusal in done.refused))


def _arguments() -> argparse.Namespace:
    parser = argument_parser("python -m jobs.rebuild_marts", "Compute the tiles in [from, to) anew from raw.")
    parser.add_argument("--views", type=lambda text: text.split(","), help="a,b; without it, all and the quarantine")
    parser.add_argument(
        "--from", dest="start", type=parse_time, default=EPOCH, help="start of the first tile; ISO 8601"
    )
    parser.add_argument("--to", dest="end", type=parse_time, help="end of the last tile; without it, the frontier")
    return parser.parse_args()


if __name__ == "__main__":
    main()
