"""What a slice costs to build, by its size and by how much history lies before it.

A history of h is h hours of as many events, as raw files before the slice's and as a tile an hour. Warm builds run in
one session, the histories taking turns; cold ones are processes of their own. Each build appends the slice's tile to
all marts of the shop as shipped, and what it committed is compared with the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lake.cuts import format_time
from tests.bench.arms import Arm
from tests.bench.bench_lake import T0, T1, BenchLake, Slice, with_history
from tests.bench.cold_build import Cold, cold_build
from tests.bench.shop_records import ShopRecords

PARTITIONS = 4


@dataclass(frozen=True)
class Repeats:
    """How often each slice is built: warm ones that do not count, then those that do, and cold ones."""

    warm_ups: int
    warm: int
    cold: int


def measure_slices(lake: BenchLake, sizes: Mapping[int, Sequence[int]], repeats: Repeats) -> Iterator[tuple[str, dict]]:
    """Of each size, with each of its histories."""
    for size, histories in sizes.items():
        records = ShopRecords(size, T0, PARTITIONS)
        slices = {hours: _landed(lake, records, hours) for hours in sorted({0, *histories})}
        with Arm("kernel", lake.environment) as arm:
            # Warms the session, and gives the tiles that history consists of.
            arm.call("build", domain=slices[0].domain.name, t1=format_time(T1))
            for hours, made in slices.items():
                lake.copy_tiles(made.domain, records, hours)
            warm: dict[int, list] = {hours: [] for hours in histories}
            for turn in range(-repeats.warm_ups, repeats.warm):
                for hours in _rotated(histories, turn):
                    made = slices[hours]
                    lake.forget_tile(made.domain, made.t0)
                    answer = arm.call("build", domain=made.domain.name, t1=format_time(T1))
                    _check(lake, made, records)
                    if turn >= 0:
                        warm[hours].append(answer)
        colds: dict[int, list[Cold]] = {hours: [] for hours in histories}
        for turn in range(repeats.cold):
            for hours in _rotated(histories, turn):
                made = slices[hours]
                lake.forget_tile(made.domain, made.t0)
                colds[hours].append(cold_build(lake.environment, made.domain.name, format_time(T1)))
                _check(lake, made, records)
        for hours in histories:
            yield (
                f"{size}x{hours}",
                {
                    "events": size,
                    "history": hours,
                    "files": slices[hours].files,
                    "warm_seconds": [round(a.seconds, 3) for a in warm[hours]],
                    "warm_cpu_seconds": [round(a.cpu_seconds, 3) for a in warm[hours]],
                    "cold_seconds": [round(c.seconds, 2) for c in colds[hours]],
                    "cold_cpu_seconds": [round(c.cpu_seconds, 2) for c in colds[hours]],
                    "session_seconds": [round(c.phases["session"], 2) for c in colds[hours]],
                    "peak_bytes": max((c.peak_bytes for c in colds[hours]), default=None),
                    "equals_truth": True,
                },
            )


def _landed(lake: BenchLake, records: ShopRecords, hours: int) -> Slice:
    return lake.land(lake.declare(with_history(f"shop{records.count}", hours)), records, hours)


def _check(lake: BenchLake, made: Slice, records: ShopRecords) -> None:
    revenue, visitors = lake.built(made.domain, made.t0)
    if revenue != records.truth.revenue() or visitors != records.truth.visitors():
        raise AssertionError(f"the build of {made.domain.name} is not what its {records.count} events say")


def _rotated(histories: Sequence[int], turn: int) -> list[int]:
    """Each goes first in its turn, so that none always follows the same one."""
    first = turn % len(histories)
    return [*histories[first:], *histories[:first]]
