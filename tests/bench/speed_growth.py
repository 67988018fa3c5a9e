"""How the cost of an event grows with the topic's partitions, and with the number of keys that it may count for.

Keys are pages whose events lie within two minutes, so that each is a row or two of the state, which the speed layer
writes anew with every chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tests.bench.bench_lake import BenchLake
from tests.bench.repeats import Cell, in_turns
from tests.bench.speed_catchup import PARTITIONS, WARM_PIECES, caught_up, warming
from tests.bench.speed_events import MINUTE_MS, SpeedEvents
from tests.bench.speed_own import Spread, ours


@dataclass(frozen=True)
class Sizes:
    """What ours is grown to: the topic's partitions, each in every spread that they fill, and the keys (pages)."""

    partitions: Sequence[int]
    keys: Sequence[int]
    spreads: Sequence[Spread]


def measure_growth(
    lake: BenchLake, sizes: Sizes, warm: int, events: int, repeats: int, patience: float
) -> Iterator[tuple[str, dict]]:
    def cell(name: str, series: str, size: int, spread: Spread, partitions: int, **told: int) -> Cell:
        main = SpeedEvents(events, partitions, seed=WARM_PIECES, **told)
        about = {"arm": name, "events": events, "series": series, "size": size, "rows": len(main.truth)}
        first = warming(warm, partitions, **told)
        return Cell(name, about, partial(caught_up, lake, ours(spread), first, main, patience))

    cells = [
        cell(f"partitions {count}, {spread}", f"partitions, {spread}", count, spread, count)
        for spread in sizes.spreads
        for count in sizes.partitions
        if count >= spread.groups
    ]
    few = min(sizes.spreads, key=lambda spread: (spread.groups, spread.workers))
    cells += [
        cell(f"keys {pages}", "keys", pages, few, PARTITIONS, pages=pages, span_ms=MINUTE_MS, late=0)
        for pages in sizes.keys
    ]
    return in_turns(cells, repeats)
