"""Cells of a benchmark, each measured several times, with all that was measured of it: what a median is taken of.

Invariant: the cells take turns, and each goes first in its turn, so that what disturbs the machine disturbs all. A cell
that has failed says so and is not measured again; the others go on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.bench.speed_run import ArmFailed

Run = dict[str, float]


@dataclass
class Cell:
    """`about` says what is measured, `run` measures it once. Raises ArmFailed where that cannot be."""

    name: str
    about: dict
    run: Callable[[], Run]
    runs: list[Run] = field(default_factory=list)
    failed: str | None = None

    def take(self) -> None:
        """One run, unless one has failed before."""
        if self.failed is not None:
            return
        try:
            self.runs.append(self.run())
        except ArmFailed as error:
            self.failed = str(error)
        print(f"{self.name}: {self.failed or self.runs[-1]}", file=sys.stderr, flush=True)

    def figures(self) -> dict:
        """`about`, and of each figure the list of what the runs had."""
        names = self.runs[0] if self.runs else ()
        return {**self.about, **{name: [run[name] for run in self.runs] for name in names}, "failed": self.failed}


def in_turns(cells: Sequence[Cell], repeats: int) -> Iterator[tuple[str, dict]]:
    """Each cell's figures after each turn, so that a benchmark that is broken off leaves something."""
    for turn in range(repeats):
        first = turn % len(cells)
        for cell in [*cells[first:], *cells[:first]]:
            cell.take()
        for cell in cells:
            yield cell.name, cell.figures()
