"""What the benchmarks' programs share: their parts, run one after the other, and the lists among their arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.bench.batch_report import machine
from tests.bench.bench_lake import BenchLake, bench_lake

Cells = Iterable[tuple[str, dict]]
"""(name of a cell, its figures), each as soon as it is measured."""
Parts = Mapping[str, Callable[[BenchLake, argparse.Namespace], Cells]]
Known = dict[str, dict[str, dict]]
"""part -> cell -> its figures."""


def run_parts(
    parts: Parts,
    told: argparse.Namespace,
    servers: Sequence[str],
    table: Callable[[Known], str],
    figures: Callable[[Known], dict],
) -> None:
    """Measure `told.parts`, each in a lake of its own, and keep each cell in `told.results` at once; then print `table`
    of all that is known, and the same with `figures` as one JSON document on the last line.
    """
    known: Known = json.loads(told.results.read_text()) if told.results.exists() else {}
    for part in told.parts:
        with bench_lake(servers) as lake:
            for cell, found in parts[part](lake, told):
                print(f"{part} {cell}: {json.dumps(found)}", file=sys.stderr, flush=True)
                known.setdefault(part, {})[cell] = found
                told.results.parent.mkdir(parents=True, exist_ok=True)
                told.results.write_text(json.dumps(known, indent=1))
    described = machine()
    print(described, table(known), sep="\n\n")
    print(json.dumps({"machine": described, "figures": figures(known), "measured": known}))


def names(what: str, known: Iterable[str]) -> Callable[[str], list[str]]:
    """The type of an argument `a,b` whose items are all `known`."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {what} '{name}'; there are {', '.join(known)}")
        return chosen

    return read


def numbers(text: str) -> list[int]:
    """The type of an argument `1,2`."""
    return [int(number) for number in text.split(",")]
