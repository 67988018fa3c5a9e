"""The benchmark compares like with like: at 2,000 events every arm gives the same answer, which is the truth."""

from __future__ import annotations

import secrets

import pytest

from lake.cuts import format_time
from tests.bench.batch_arm import DuckDB, Kernel, Native
from tests.bench.batch_native import local_copies, truth_rows
from tests.bench.batch_report import figures, table
from tests.bench.bench_lake import T0, T1, BenchLake, two_views
from tests.bench.landed_slice import measure_landed
from tests.bench.shop_records import ShopRecords


@pytest.fixture
def lake(settings, tmp_path) -> BenchLake:
    bucket = f"bench-{secrets.token_hex(4)}"
    return BenchLake(settings.model_copy(update={"bucket": bucket, "domains_dir": tmp_path, "home": tmp_path}))


def test_every_arm_of_the_comparison_finds_what_is_true_of_the_events(lake):
    records = ShopRecords(2_000, T0, 4)
    made = lake.land(lake.declare("shop_of_two_views", two_views), records, 0)
    told = {"domain": made.domain.name, "end": made.end, "t1": format_time(T1)}
    expected = truth_rows(records)
    assert sum(count for *_, count, _ in expected) > 1_000
    assert sorted(DuckDB(lake.settings).duckdb(local_copies(lake, made), made.end), key=str) == expected
    assert sorted(Kernel(lake.settings).kernel(**told), key=str) == expected
    assert sorted(Native(lake.settings).native(**told), key=str) == expected


def test_a_ratio_is_reported_between_medians_of_the_same_kind():
    cell = {"events": 1_000, "files": 5, "cold_seconds": [], "session_seconds": [], "peak_bytes": None}
    bare = cell | {"history": 0, "warm_seconds": [1.0, 2.0, 9.0], "warm_cpu_seconds": [1.0]}
    much = cell | {"history": 10, "warm_seconds": [2.2, 2.2, 9.0], "warm_cpu_seconds": [3.0]}
    known = {"slices": {"1000x0": bare, "1000x10": much, "10000x0": bare | {"events": 10_000, "warm_seconds": [20.0]}}}
    found = figures(known)
    assert found["slice_1000x10_warm_seconds_over_x0"] == pytest.approx(1.1)
    assert found["slice_1000x10_warm_cpu_seconds_over_x0"] == pytest.approx(3)
    assert found["exponent_x0_warm_seconds"] == pytest.approx(1)
    assert len(table(known).splitlines()) == 5


def test_a_slice_as_it_was_landed_and_in_large_files_gives_the_truth(settings, lake):
    # Its builds are in a process of their own, which finds the stack's settings in the stack's home.
    of_stack = BenchLake(lake.settings.model_copy(update={"home": settings.home}))
    known = {"landed": dict(measure_landed(of_stack, 2_000, 20, 1))}
    landed, large = known["landed"].values()
    assert (landed["files"], large["files"]) == (21, 5)
    assert figures(known)["slice_as_landed_2000_build_seconds"] == landed["build_seconds"][0]
    assert "| as landed | 2,000 | 21 |" in table(known)
