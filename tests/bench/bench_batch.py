"""What the batch layer costs: `python -m tests.bench.bench_batch`, or a part of it, as `--parts slices --sizes 10000`.

Parts: `slices` (a build's cost by the slice's size and by how much history lies before it), `native` (the kernel
through Spark against the same aggregation by hand in Spark and in DuckDB), `landed` (a slice in the lander's own small
files, and in large ones), `files` (ten thousand small files of raw before and after compaction), `start` (where a small
slice's time goes). An answer that is not the truth ends the run.

What a part has measured is kept in the file `--results`, so that parts can be run one at a time; a table of all that
is known comes out at the end, and the same as one JSON document on the last line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench.batch_native import measure_native
from tests.bench.batch_report import figures, table
from tests.bench.batch_slices import Repeats, measure_slices
from tests.bench.batch_start import measure_start
from tests.bench.bench_lake import SERVERS
from tests.bench.landed_slice import measure_landed
from tests.bench.program import Parts, names, numbers, run_parts
from tests.bench.small_files import measure_files

PARTS: Parts = {
    "slices": lambda lake, told: measure_slices(lake, _sizes(told), Repeats(told.warm_ups, told.repeats, told.cold)),
    "native": lambda lake, told: measure_native(lake, told.events, told.compared),
    "landed": lambda lake, told: measure_landed(lake, told.landed, told.commits, told.compared),
    "files": lambda lake, told: measure_files(lake, told.files),
    "start": lambda lake, told: measure_start(lake, told.cold),
}


def main() -> None:
    run_parts(PARTS, _arguments(), SERVERS, table, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_batch", description="What the batch layer costs."
    )
    parser.add_argument(
        "--parts", type=names("part", PARTS), default=list(PARTS), help=f"of {', '.join(PARTS)}; all of them"
    )
    parser.add_argument("--sizes", type=numbers, default=[10**4, 10**5, 10**6, 10**7], help="events of a slice")
    parser.add_argument("--histories", type=numbers, default=[0, 1, 10], help="history, as multiples of the slice")
    parser.add_argument("--most-events", type=int, default=11 * 10**6, help="of slice and history; more are left out")
    parser.add_argument("--warm-ups", type=int, default=1, help="of each slice, before its repeats")
    parser.add_argument("--repeats", type=int, default=5, help="of each warm build")
    parser.add_argument("--cold", type=int, default=3, help="repeats of each build with a session of its own")
    parser.add_argument("--events", type=numbers, default=[10**6, 10**7], help="in the comparison with native Spark")
    parser.add_argument("--compared", type=int, default=5, help="repeats of that comparison")
    parser.add_argument("--landed", type=int, default=10**6, help="events of the slice as the lander leaves it")
    parser.add_argument("--commits", type=int, default=3600, help="of the lander in that slice")
    parser.add_argument("--files", type=int, default=10**4, help="small files of raw")
    parser.add_argument("--results", type=Path, default=Path(".tidemark/bench_batch.json"), help="what is known so far")
    return parser.parse_args()


def _sizes(told: argparse.Namespace) -> dict[int, list[int]]:
    """Each size with the histories that may be landed before it."""
    fitting = {
        size: [hours for hours in told.histories if size * (1 + hours) <= told.most_events] for size in told.sizes
    }
    return {size: histories for size, histories in fitting.items() if histories}


if __name__ == "__main__":
    main()
