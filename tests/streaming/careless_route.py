"""Routes with one guard off, for negative controls: `python -m tests.streaming.careless_route GUARD --domain ...`."""

from __future__ import annotations

import sys

import typer

from streaming import route
from streaming.progress import Progress


def switch_off(guard: str) -> None:
    if guard == "read_back":
        route.read_back = lambda *_: set()
    elif guard == "claim":
        Progress.check = lambda self: self._table.update_incremental()
    else:
        raise ValueError(guard)


if __name__ == "__main__":
    switch_off(sys.argv.pop(1))
    typer.run(route.main)
