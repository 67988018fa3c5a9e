"""How fast each arm catches up on a backlog, in events per CPU second, and how wrong its answer is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tests.bench.bench_lake import BenchLake
from tests.bench.repeats import Cell, Run, in_turns
from tests.bench.speed_events import SpeedEvents
from tests.bench.speed_run import Arm, run_arm
from tests.bench.speed_stream import new_stream

PARTITIONS, WARM_PIECES = 4, 5


def measure_arms(
    lake: BenchLake, arms: Sequence[Arm], warm: int, events: int, repeats: int, patience: float
) -> Iterator[tuple[str, dict]]:
    """`warm` events that do not count, then `events` that do."""
    first, main = warming(warm, PARTITIONS), SpeedEvents(events, PARTITIONS, seed=WARM_PIECES)
    cells = [
        Cell(
            f"{arm.name} {events}",
            {"arm": arm.name, "events": events},
            partial(caught_up, lake, arm, first, main, patience),
        )
        for arm in arms
    ]
    return in_turns(cells, repeats)


def warming(events: int, partitions: int, **told: int) -> list[SpeedEvents]:
    """So many events, in pieces."""
    return [SpeedEvents(events // WARM_PIECES, partitions, seed=seed, **told) for seed in range(WARM_PIECES)]


def caught_up(lake: BenchLake, arm: Arm, warm: Sequence[SpeedEvents], main: SpeedEvents, patience: float) -> Run:
    """One run, with a topic of its own. Raises ArmFailed."""
    arm.prepare()
    with new_stream(lake, main.partitions) as stream:
        run = run_arm(arm, stream, warm, main, patience)
    return {
        "seconds": round(run.seconds, 3),
        "cpu_seconds": round(run.cpu_seconds, 3),
        "events_per_second": round(run.events / max(run.seconds, 1e-3)),
        "events_per_cpu_second": round(run.events / max(run.cpu_seconds, 1e-3)),
        "peak_bytes": run.peak_bytes,
        "events_wrong": run.error.events,
        "cents_wrong": run.error.cents,
        "rows_wrong": run.error.rows,
        "error": run.error.share,
    }
