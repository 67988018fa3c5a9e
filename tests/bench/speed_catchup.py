"""How fast each arm catches up on a backlog, in events per CPU second, and how wrong its answer is.

The arms take turns, so that what disturbs the machine disturbs all; an arm that cannot be had, or fails, says so and
the others go on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench.bench_lake import BenchLake
from tests.bench.speed_events import SpeedEvents
from tests.bench.speed_run import Arm, ArmFailed, Run, run_arm
from tests.bench.speed_stream import new_stream

PARTITIONS, WARM_PIECES = 4, 5


@dataclass
class Taken:
    """The runs of one arm; after its first failure there are no more."""

    arm: Arm
    runs: list[Run] = field(default_factory=list)
    failed: str | None = None

    def figures(self) -> dict:
        errors = [asdict(run.error) for run in self.runs]
        return {
            "arm": self.arm.name,
            "events": self.runs[0].events if self.runs else 0,
            "seconds": [round(run.seconds, 3) for run in self.runs],
            "cpu_seconds": [round(run.cpu_seconds, 3) for run in self.runs],
            "events_per_cpu_second": [round(run.events / max(run.cpu_seconds, 1e-3)) for run in self.runs],
            "peak_bytes": max((run.peak_bytes for run in self.runs), default=0),
            "errors": errors,
            "failed": self.failed,
        }


def measure_arms(
    lake: BenchLake, arms: Sequence[Arm], warm: int, events: int, repeats: int, patience: float
) -> Iterator[tuple[str, dict]]:
    """`warm` events that do not count, then `events` that do."""
    first, main = warming(warm, PARTITIONS), SpeedEvents(events, PARTITIONS, seed=WARM_PIECES)
    taken = [prepared(arm) for arm in arms]
    for turn in range(repeats):
        for each in rotated(taken, turn):
            take(lake, each, first, main, patience)
        for each in taken:  # after each turn, so that a run that is broken off leaves something
            yield f"{each.arm.name} {events}", each.figures()


def warming(events: int, partitions: int, **told: int) -> list[SpeedEvents]:
    """So many events, in pieces."""
    return [SpeedEvents(events // WARM_PIECES, partitions, seed=seed, **told) for seed in range(WARM_PIECES)]


def prepared(arm: Arm) -> Taken:
    taken = Taken(arm)
    try:
        arm.prepare()
    except ArmFailed as error:
        taken.failed = str(error)
        print(f"{arm.name}: {error}", file=sys.stderr, flush=True)
    return taken


def take(lake: BenchLake, taken: Taken, warm: Sequence[SpeedEvents], main: SpeedEvents, patience: float) -> None:
    """One run, unless one has failed before."""
    if taken.failed is not None:
        return
    try:
        with new_stream(lake, main.partitions) as stream:
            run = run_arm(taken.arm, stream, warm, main, patience)
    except ArmFailed as error:
        taken.failed = str(error)
        print(f"{taken.arm.name}: {error}", file=sys.stderr, flush=True)
        return
    taken.runs.append(run)
    print(f"{taken.arm.name}: {run}", file=sys.stderr, flush=True)


def rotated(taken: Sequence[Taken], turn: int) -> list[Taken]:
    """Each goes first in its turn, so that none always follows the same one."""
    first = turn % len(taken)
    return [*taken[first:], *taken[:first]]
