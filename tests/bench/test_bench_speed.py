"""The benchmark of the speed layer counts right: at a few thousand events the answers are the truth."""

from __future__ import annotations

import secrets

import pytest

from tests.bench import speed_others
from tests.bench.bench_lake import BenchLake
from tests.bench.speed_catchup import measure_arms
from tests.bench.speed_events import EVENT_BYTES, Error, SpeedEvents, added, error_of
from tests.bench.speed_others import Environment, ScriptArm
from tests.bench.speed_own import bare, ours
from tests.bench.speed_query import measure_query
from tests.bench.speed_report import figures, table
from tests.bench.speed_timecut import measure_timecut


@pytest.fixture
def lake(settings, tmp_path) -> BenchLake:
    bucket = f"bench-{secrets.token_hex(4)}"
    return BenchLake(settings.model_copy(update={"bucket": bucket, "domains_dir": tmp_path}))


def test_ours_and_the_bare_loop_catch_up_to_the_truth_and_an_arm_that_cannot_be_had_says_why(
    lake, tmp_path, monkeypatch
):
    monkeypatch.setattr(speed_others, "FOLDER", tmp_path)
    (tmp_path / "unknown.txt").write_text(f"unknown @ file://{tmp_path}/nowhere.whl\n")
    unknown = ScriptArm("unknown", "unknown.py", Environment("unknown"))
    known = {"catchup": dict(measure_arms(lake, [unknown, ours(), bare()], 1_000, 3_000, 1, 30))}
    not_had, *measured = known["catchup"].values()
    assert "its packages cannot be had" in not_had["failed"]
    for told in measured:
        assert told["failed"] is None
        assert told["errors"] == [{"events": 0, "cents": 0, "rows": 0, "share": 0.0}]
        assert 0 < told["cpu_seconds"][0] < 30
    assert figures(known)["catchup_bare_loop_error"] == 0
    assert "catchup_unknown_error" not in figures(known)
    assert "| ours | 3,000 |" in table(known)
    assert "failed: its packages cannot be had" in table(known)


def test_only_the_seam_at_append_time_has_no_error(lake):
    known = {"timecut": dict(measure_timecut(lake, 4_000))}
    ours, *others = known["timecut"].values()
    assert (ours["events_wrong"], ours["cents_wrong"], ours["rows_wrong"]) == (0, 0, 0)
    assert all(0.001 < other["error"] < 0.1 for other in others)


def test_every_answer_to_a_query_is_the_truth_while_segments_come(lake):
    known = {"query": dict(measure_query(lake, 20_000, 1.0))}
    [told] = known["query"].values()
    assert told["error"] == 0 < told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]
    assert "| 20,000 rows" in table(known)
    assert figures(known)["query_20000_rows_p50_ms"] == told["p50_ms"]


def test_an_error_is_what_is_missing_and_what_is_too_much():
    truth = {("order", "DE", 0): (3, 900), ("order", "FR", 0): (1, 100)}
    answer = {("order", "DE", 0): (2, 600), ("order", "IT", 0): (1, 50)}
    assert error_of(answer, truth) == Error(events=3, cents=450, rows=3, share=0.75)
    assert error_of(truth, truth) == Error(0, 0, 0, 0.0)
    assert added(truth, truth)["order", "DE", 0] == (6, 1800)


def test_the_same_events_are_made_again_of_204_bytes_each():
    events = SpeedEvents(2_000, 4)
    records = list(events.records())
    assert records == list(SpeedEvents(2_000, 4).records())
    sizes = [len(value) for _, _, value in records]
    assert 0.97 < sizes.count(EVENT_BYTES) / len(sizes) < 1
    assert 1_500 < events.counted < 2_000


def test_the_cost_of_an_event_that_grows_with_the_square_has_the_exponent_two():
    cell = {"arm": "ours", "series": "keys", "seconds": [1], "events_per_cpu_second": [1], "errors": [{"share": 0.0}]}
    cell |= {"peak_bytes": 1 << 30}
    sizes = {f"{n} keys": cell | {"size": n, "events": 10, "cpu_seconds": [n**2]} for n in (10, 100, 1000)}
    assert figures({"growth": sizes})["growth_exponent_keys"] == pytest.approx(2)
