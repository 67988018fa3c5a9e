"""What the speed layer costs: `python -m tests.bench.bench_speed`, or a part of it, as `--parts catchup --arms ours`.

Parts: `catchup` (events per CPU second of ours, of the same work without Beam, and of others that do it; each with the
error of its answer), `landing` (the same of the lander), `growth` (ours by the number of partitions, of readers and of
keys), `freshness` (how long an appended event takes into the merged answer), `timecut` (the error of a merge that cuts
at event time, beside ours), `query` (a few rows of a large merged view, by several clients).

All that is timed is timed `--repeats` times, in turns. What a part has measured is kept in the file `--results`, so
that parts can be run one at a time; a table of all that is known comes out at the end, medians with the least and the
most in brackets, and the same as one JSON document on the last line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.bench.program import Parts, names, numbers, run_parts
from tests.bench.speed_catchup import measure_arms
from tests.bench.speed_freshness import measure_freshness
from tests.bench.speed_growth import Sizes, measure_growth
from tests.bench.speed_landing import LANDING
from tests.bench.speed_others import BEAM, BYTEWAX, QUIX, SPARK
from tests.bench.speed_own import Spread, bare, ours
from tests.bench.speed_query import measure_query
from tests.bench.speed_report import figures, table
from tests.bench.speed_run import Arm
from tests.bench.speed_stream import SERVERS
from tests.bench.speed_timecut import measure_timecut

ARMS: dict[str, Callable[[], Arm]] = {
    "ours": ours,
    "bare": bare,
    "beam": lambda: BEAM,
    "quix": lambda: QUIX,
    "bytewax": lambda: BYTEWAX,
    "spark": lambda: SPARK,
}

PARTS: Parts = {
    "catchup": lambda lake, told: measure_arms(
        lake, [ARMS[name]() for name in told.arms], told.warm, told.events, told.repeats, told.patience
    ),
    "landing": lambda lake, told: measure_arms(
        lake,
        [LANDING[name] for name in told.arms if name in LANDING],
        *(told.warm, told.events, told.repeats, told.patience),
    ),
    "growth": lambda lake, told: measure_growth(
        lake, _sizes(told), told.warm, told.events, told.repeats, told.patience
    ),
    "freshness": lambda lake, told: measure_freshness(lake, told.rates, told.seconds, told.repeats),
    "timecut": lambda lake, told: measure_timecut(lake, told.events),
    "query": lambda lake, told: measure_query(lake, told.users, told.seconds, told.repeats),
}


def main() -> None:
    run_parts(PARTS, _arguments(), SERVERS, table, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_speed", description="What the speed layer costs."
    )
    parts, arms = names("part", PARTS), names("arm", ARMS)
    parser.add_argument("--parts", type=parts, default=list(PARTS), help=f"of {', '.join(PARTS)}; all of them")
    parser.add_argument("--arms", type=arms, default=list(ARMS), help=f"of {', '.join(ARMS)}; all of them")
    parser.add_argument("--warm", type=int, default=100_000, help="events that each arm is warmed with")
    parser.add_argument("--events", type=int, default=10**6, help="of a backlog")
    parser.add_argument("--repeats", type=int, default=5, help="of everything that is timed")
    parser.add_argument("--patience", type=float, default=60.0, help="idle seconds that end an arm's run")
    parser.add_argument("--partitions", type=numbers, default=[1, 2, 4, 8], help="of the topic, for growth")
    parser.add_argument("--keys", type=numbers, default=[10**n for n in range(2, 7)], help="pages, for growth")
    parser.add_argument("--groups", type=numbers, default=[1, 2], help="readers, for growth")
    parser.add_argument("--workers", type=numbers, default=[1], help="Flink's processes, for growth")
    parser.add_argument("--runner", choices=["prism", "flink"], default="prism", help="that ours is grown on")
    parser.add_argument("--rates", type=numbers, default=[2_000, 20_000], help="events a second, for freshness")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each rate, and of querying")
    parser.add_argument("--users", type=int, default=10**7, help="rows of the mart that is queried")
    parser.add_argument("--results", type=Path, default=Path(".tidemark/bench_speed.json"), help="what is known so far")
    told = parser.parse_args()
    if told.runner == "prism" and max(told.workers) > 1:
        parser.error(f"--workers {max(told.workers)}: Prism has one; --runner flink spreads readers over more")
    return told


def _sizes(told: argparse.Namespace) -> Sizes:
    spreads = [Spread(groups, workers, told.runner) for groups in told.groups for workers in told.workers]
    return Sizes(told.partitions, told.keys, [spread for spread in spreads if spread.workers <= spread.groups])


if __name__ == "__main__":
    main()
