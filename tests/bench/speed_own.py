"""The arms that keep their states in the speed store: the speed layer as it ships, and the same work without Beam."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local.tools import ROOT
from tests.bench.speed_events import SpeedEvents
from tests.bench.speed_stream import Stream


@dataclass
class OwnArm:
    """`command`: what follows `python -m`, with {domain} for the domain's name."""

    name: str
    command: Sequence[str]

    def prepare(self) -> None:
        """Nothing is missing where the project is set up."""

    def start(self, stream: Stream) -> subprocess.Popen:
        command = [part.format(domain=stream.domain.name) for part in self.command]
        with (stream.folder / "log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=stream.lake.environment, stdout=log, stderr=log
            )

    def progress(self, stream: Stream) -> int:
        return stream.records_put()

    def goal(self, events: Sequence[SpeedEvents]) -> int:
        return sum(each.count for each in events)

    def answer(self, stream: Stream) -> Mapping[tuple, tuple[int, int]]:
        return stream.served()


@dataclass(frozen=True)
class Spread:
    """Over how many readers the partitions are spread, and over how many of the runner's processes these."""

    groups: int = 1
    workers: int = 1
    runner: str = "prism"

    def __str__(self) -> str:
        readers = f"readers {self.groups}"
        return readers if self.runner == "prism" else f"{readers}, {self.runner} workers {self.workers}"


def ours(spread: Spread = Spread()) -> OwnArm:
    """`streaming.speed`, spread so."""
    told = {"groups": spread.groups, "workers": spread.workers, "runner": spread.runner}
    options = [part for name, value in told.items() for part in (f"--{name}", str(value))]
    return OwnArm("ours", ["streaming.speed", "--domain", "{domain}", *options])


def bare() -> OwnArm:
    """Consume, kernel and put in one loop."""
    return OwnArm("bare loop", ["tests.bench.speed_arms.bare", "{domain}"])
