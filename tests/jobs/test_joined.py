"""A dimension joined by every task, by Spark's broadcast and by Spark's shuffle: three plans, one answer."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.carry import collect
from jobs.slices import Span, compute
from lake.cuts import EPOCH
from lake.dimensions import Dimensions
from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.marks import marks_of
from lake.parse import MARKER_HEADER
from lake.timeline import ANNOUNCEMENT_HEADER
from tests.jobs.conftest import NINE
from tests.jobs.landed import Landed

VISITS = Path(__file__).parents[1] / "dimensions/visits.yaml"
VIEWS = ["visits_by_country", "visits_in_all", QUARANTINE, COUNTS]
SHUFFLE, BROADCAST = "SortMergeJoin", "BroadcastHashJoin"


def _announce(landed: Landed, at, version: int) -> None:
    told = json.dumps({"dimension": "users", "version": version}).encode()
    headers = [{"key": MARKER_HEADER, "value": b"{}"}, {"key": ANNOUNCEMENT_HEADER, "value": told}]
    landed._append([landed._record(at, None, p, headers) for p in range(landed.partitions)])


@pytest.fixture(scope="module")
def sliced(make_sandbox, spark):
    """A sealed slice with two versions of the users and duplicates; and what the plain kernel makes of it."""
    sandbox = make_sandbox(VISITS, 3)
    settings, domain, source = sandbox.settings, sandbox.domain, random.Random(5)
    landed, dimensions = Landed(settings, domain), Dimensions(settings)
    for version in (1, 2):
        rows = {"key": [f"u{n}" for n in range(30)]}
        rows |= {"country": [source.choice("ABC") for _ in range(30)], "discount": [f"{version}.25"] * 30}
        assert dimensions.load("users", pa.table(rows), [domain.dimensions["users"].columns]) == version
    at = NINE - timedelta(minutes=2)
    for minute in range(3):
        for second in range(0, 30, 3):
            landed.values(at + timedelta(seconds=30 * minute + second), [_visit(source) for _ in range(40)])
        if minute < 2:
            _announce(landed, at + timedelta(seconds=30 * minute + 29), minute + 1)
    landed.seal(NINE)
    version = landed.raw.table()
    end = landed.raw.cut(NINE, version)
    kernel, records = Kernel(domain, dimensions.table), list(landed.raw.scan({}, end, version))
    marks = marks_of(kernel, domain, records, settings.segment_seconds)
    marks.parse(kernel, pa.concat_tables(records))
    expected = kernel.aggregate()
    assert sum(row["duplicates"] for row in expected[COUNTS].to_pylist()) > 20 and len(expected[QUARANTINE]) > 20
    assert {r["country"] for r in expected["visits_by_country"].to_pylist()} == {None, "A", "B", "C"}
    return sandbox, landed.raw, version, Span(EPOCH, NINE, {}, end), expected


def _visit(source: random.Random) -> bytes:
    if source.random() < 0.02:
        return b"bad"
    number = source.randrange(150)
    event = {"visit": f"v{number}", "at": 1_795_000_000_000, "user": f"u{number % 35}"}
    return json.dumps(event | ({"country": "X"} if source.random() < 0.1 else {})).encode()


def _computed(sliced, spark, broadcast_rows: int) -> tuple[dict[str, pa.Table], str]:
    """States of each view, and Spark's plan."""
    sandbox, raw, version, span, _ = sliced
    raw.settings = sandbox.settings.model_copy(update={"broadcast_rows": broadcast_rows})
    result = compute(spark, sandbox.domain, raw, version, span, {})
    kernel = Kernel(sandbox.domain)
    states = {name: kernel.merge(name, collect(result.parcels, name)) for name in VIEWS}
    plan = result.parcels._jdf.queryExecution().toString()
    result.parcels.unpersist()
    assert result.announced == {p: {"users": 2} for p in range(3)}
    return states, plan


@pytest.mark.parametrize(
    ("broadcast_rows", "threshold", "join"), [(1_000_000, "10m", None), (0, "10m", BROADCAST), (0, "-1", SHUFFLE)]
)
def test_small_and_large_dimensions_give_the_same_states_by_their_own_plans(
    sliced, spark, broadcast_rows, threshold, join
) -> None:
    option = "spark.sql.autoBroadcastJoinThreshold"
    usual = spark.conf.get(option)
    spark.conf.set(option, threshold)
    try:
        states, plan = _computed(sliced, spark, broadcast_rows)
    finally:
        spark.conf.set(option, usual)
    print(plan.split("== Physical Plan ==")[-1])
    assert [name for name in (SHUFFLE, BROADCAST) if name in plan] == ([join] if join else [])
    for name in VIEWS:
        assert states[name].equals(sliced[-1][name]), name
