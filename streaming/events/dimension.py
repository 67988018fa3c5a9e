"""Writes a version of a shipped dimension as CSV, for `tidemark dimension load`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from lake.errors import BadDomain, exit_on_error
from lake.expressions import nearest
from streaming.events import users, watchlist

TABLES: dict[str, tuple[tuple[str, ...], Callable[[int, int], Iterator[tuple[str, ...]]]]] = {
    "users": (users.HEADER, users.users),
    "watchlist": (watchlist.HEADER, watchlist.watchlist),
}


def write(name: str, seed: int, version: int, file: IO[str]) -> None:
    """One header line, then a row a key. Raises BadDomain for a dimension that nobody can invent."""
    if name not in TABLES:
        raise BadDomain(f"dimension '{name}' has no generator; {nearest(name, TABLES)}")
    header, rows = TABLES[name]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows(seed, version))


def main(
    name: Annotated[str, typer.Argument(help="The dimension: users or watchlist.")],
    version: Annotated[int, typer.Option(min=1, help="1, 2, ...: each changes some rows of the one before.")] = 1,
    seed: int = 1,
    output: Annotated[Path | None, typer.Option(help="The file; without it, standard output.")] = None,
) -> None:
    """Invent a version of a dimension, as CSV."""
    with exit_on_error():
        if output is None:
            write(name, seed, version, sys.stdout)
            return
        with output.open("w", newline="") as file:
            write(name, seed, version, file)


if __name__ == "__main__":
    typer.run(main)
