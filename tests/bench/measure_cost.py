"""What each measure costs the kernel: CPU time an event to make states, and a state to merge two.

Run as `python -m tests.bench.measure_cost`: a table, and the same as JSON on the last line.
"""

from __future__ import annotations

import json
import time

import duckdb

from lake.measures import MACROS, MEASURES
from tests.bench.measure_error import plan_of

EVENTS, GROUPS, REPEATS = 1_000_000, 1_000, 3
OPTIONS = {"quantiles": {"at": [0.5]}, "histogram": {"bounds": [0, 10, 100, 1000]}}
TYPES = {"any": "BOOLEAN", "all": "BOOLEAN"}


def measure(kind: str) -> tuple[float, float]:
    """(ns of CPU an event, µs of CPU a merged state), the least of some runs; groups of a thousand different values."""
    duckdb_type = TYPES.get(kind, "BIGINT")
    plan = plan_of({kind: (duckdb_type, OPTIONS.get(kind, {}))})
    db = duckdb.connect(config={"threads": 1})
    db.execute(MACROS)
    at = "{'event_time': make_timestamp(i), 'partition': 0::INTEGER, 'offset': i}"
    db.execute(
        f"CREATE TABLE numbers AS SELECT i % {GROUPS} AS run, {at} AS at,"
        f" CAST(md5_number_lower(i::VARCHAR) % 1000000 AS {duckdb_type}) AS x FROM range({EVENTS}) AS t(i)"
    )
    making = _least(db, f"CREATE OR REPLACE TABLE one AS {plan.aggregate()}")
    db.execute('CREATE TABLE ":states" AS FROM one UNION ALL FROM one')
    merging = _least(db, f"CREATE OR REPLACE TABLE merged AS {plan.merge()}")
    return making / EVENTS * 1e9, merging / GROUPS * 1e6


def _least(db: duckdb.DuckDBPyConnection, sql: str) -> float:
    times = []
    for _ in range(REPEATS):
        begun = time.process_time()
        db.execute(sql)
        times.append(time.process_time() - begun)
    return min(times)


def main() -> None:
    print(f"{'measure':16}{'ns an event':>12}{'µs a merge':>12}")
    found = {}
    for kind in MEASURES:
        found[kind] = dict(zip(("event_ns", "merge_us"), measure(kind), strict=True))
        print(f"{kind:16}{found[kind]['event_ns']:12.0f}{found[kind]['merge_us']:12.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
