"""How the cost of an event grows with the topic's partitions, and with the number of keys that it may count for.

All sizes take turns, as arms do. Keys are pages whose events lie within two minutes, so that each is a row or two of
the state, which the speed layer writes anew with every chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.bench_lake import BenchLake
from tests.bench.speed_catchup import PARTITIONS, WARM_PIECES, Taken, take, warming
from tests.bench.speed_events import MINUTE_MS, SpeedEvents
from tests.bench.speed_own import ours

GROUPS = (1, 2)


@dataclass
class Cell:
    name: str
    series: str
    size: int
    taken: Taken
    warm: list[SpeedEvents]
    main: SpeedEvents


def measure_growth(
    lake: BenchLake,
    partitions: Sequence[int],
    keys: Sequence[int],
    warm: int,
    events: int,
    repeats: int,
    patience: float,
) -> Iterator[tuple[str, dict]]:
    cells = [
        _cell(
            f"partitions {count}, readers {groups}", f"partitions, readers {groups}", count, warm, events, count, groups
        )
        for groups in GROUPS
        for count in partitions
        if count >= groups
    ]
    cells += [
        _cell(f"keys {pages}", "keys", pages, warm, events, PARTITIONS, 1, pages=pages, span_ms=MINUTE_MS, late=0)
        for pages in keys
    ]
    for turn in range(repeats):
        first = turn % len(cells)
        for cell in [*cells[first:], *cells[:first]]:
            take(lake, cell.taken, cell.warm, cell.main, patience)
        for cell in cells:
            yield (
                cell.name,
                {**cell.taken.figures(), "series": cell.series, "size": cell.size, "rows": len(cell.main.truth)},
            )


def _cell(name: str, series: str, size: int, warm: int, events: int, partitions: int, groups: int, **told: int) -> Cell:
    main = SpeedEvents(events, partitions, seed=WARM_PIECES, **told)
    return Cell(name, series, size, Taken(ours(groups)), warming(warm, partitions, **told), main)
