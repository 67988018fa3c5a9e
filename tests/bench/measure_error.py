"""How far `distinct` and `quantiles` are off: measured over sizes and distributions, against exact answers by numpy.

Run as `python -m tests.bench.measure_error`: a table, and the same as JSON on the last line.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from lake.measures import MACROS, MEASURES
from lake.plan import Plan, State

SIZES = [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]
AT = (0.01, 0.5, 0.9, 0.99, 0.999)
# Enough runs for a mean, no more values than fit in a minute.
_VALUES, _MOST_RUNS = 10_000_000, 400

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "uniform": lambda chance, size: chance.integers(0, 2**40, size),
    "normal": lambda chance, size: chance.normal(0, 1000, size),
    "lognormal": lambda chance, size: chance.lognormal(3, 2, size),
    "zipf": lambda chance, size: chance.zipf(1.3, size),
}


@dataclass(frozen=True)
class Error:
    """Relative errors over all runs of one size; `distinct_*` of the number of values that differ."""

    distribution: str
    size: int
    runs: int
    distinct_rms: float
    distinct_worst: float
    quantiles_worst: float
    buckets: int
    seconds: float


def measure(distribution: str, size: int, runs: int, seed: int) -> Error:
    """Draw `runs` times `size` values, and compare what the two measures say of each run with the exact answers."""
    chance = np.random.default_rng([seed, size, *distribution.encode()])
    numbers = DISTRIBUTIONS[distribution](chance, size * runs)
    db = duckdb.connect(config={"threads": 1})
    db.execute(MACROS)
    db.register("numbers", pa.table({"run": np.repeat(np.arange(runs), size), "x": numbers, "at": numbers}))
    kind = "BIGINT" if numbers.dtype.kind == "i" else "DOUBLE"
    plan = plan_of({"distinct": (kind, {}), "quantiles": (kind, {"at": AT})})
    begun = time.perf_counter()
    db.execute(f'CREATE TABLE ":states" AS {plan.aggregate()}')
    found = db.sql(plan.present()).fetchall()
    seconds = time.perf_counter() - begun
    [(buckets,)] = db.sql('SELECT max(len(quantiles)) FROM ":states"').fetchall()
    of_distinct, of_quantiles = [], [0.0]
    for (_, distinct, *quantiles), values in zip(found, np.sort(numbers.reshape(runs, size)), strict=True):
        exact = 1 + np.count_nonzero(np.diff(values))
        of_distinct.append((distinct - exact) / exact)
        for at, quantile in zip(AT, quantiles, strict=True):
            true = float(values[math.ceil(round(at * size, 6)) - 1])
            of_quantiles.append(abs(quantile - true) / abs(true) if true else abs(quantile))
    rms = float(np.sqrt(np.mean(np.square(of_distinct))))
    worst = float(np.max(np.abs(of_distinct)))
    return Error(distribution, size, runs, rms, worst, max(of_quantiles), buckets, round(seconds, 2))


def plan_of(uses: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Plan:
    """Measures (kind -> argument's type, options) of `x` over the table `numbers`, a row for each `run`."""
    states, values = {}, {}
    for kind, (duckdb_type, options) in uses.items():
        found = MEASURES[kind]
        compiled = found.compile(duckdb_type, found.options.model_validate(options))
        state, bucket = (sql and sql.format(x='"x"', at='"at"') for sql in (compiled.state, compiled.bucket))
        states[kind] = State(state, compiled.merge, bucket)
        values |= {f"{kind}{suffix}": sql.format(s=f'"{kind}"') for suffix, sql in compiled.values.items()}
    return Plan(source="FROM numbers", rows='run, x, "at"', keys=["run"], states=states, values=values)


def main() -> None:
    seed = int(os.environ.get("TEST_SEED") or 1)
    print(f"TEST_SEED={seed}; {os.cpu_count()} CPUs {platform.machine()}, duckdb {duckdb.__version__}, one thread")
    print(
        f"{'distribution':12} {'size':>10} {'runs':>5} {'distinct: RMS':>14} {'worst':>8} {'quantiles: worst':>17}"
        f" {'buckets':>8} {'seconds':>8}"
    )
    errors = []
    for distribution in DISTRIBUTIONS:
        for size in SIZES:
            error = measure(distribution, size, max(1, min(_MOST_RUNS, _VALUES // size)), seed)
            errors.append(asdict(error))
            print(
                f"{error.distribution:12} {error.size:10} {error.runs:5} {error.distinct_rms:14.3%} "
                f"{error.distinct_worst:8.3%} {error.quantiles_worst:17.3%} {error.buckets:8} {error.seconds:8}"
            )
            sys.stdout.flush()
    print(json.dumps({"seed": seed, "errors": errors}))


if __name__ == "__main__":
    main()
