"""The benchmark of the speed layer counts right: at a few thousand events the answers are the truth."""

from __future__ import annotations

import dataclasses
import itertools
import secrets

import pytest

from tests.bench import speed_others, speed_query, speed_report
from tests.bench.bench_lake import BenchLake
from tests.bench.bench_speed import PARTS
from tests.bench.repeats import Cell, in_turns
from tests.bench.speed_catchup import measure_arms
from tests.bench.speed_events import EVENT_BYTES, Error, SpeedEvents, added, error_of
from tests.bench.speed_others import Environment, ScriptArm
from tests.bench.speed_own import Spread, bare, ours
from tests.bench.speed_query import measure_query
from tests.bench.speed_report import figures, table
from tests.bench.speed_run import ArmFailed
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
        assert [told[name] for name in ("events_wrong", "cents_wrong", "rows_wrong", "error")] == [[0], [0], [0], [0.0]]
        assert 0 < told["cpu_seconds"][0] < 30
    found = figures(known)
    assert found["catchup_bare_loop_error"] == 0
    assert found["catchup_ours_events_per_second"] == pytest.approx(3_000 / found["catchup_ours_seconds"], rel=0.01)
    assert not [name for name in found if "unknown" in name]
    assert "| ours | 3,000 |" in table(known)
    assert "failed: its packages cannot be had" in table(known)


def test_only_the_seam_at_append_time_has_no_error(lake):
    known = {"timecut": dict(measure_timecut(lake, 4_000))}
    ours, *others = known["timecut"].values()
    assert (ours["events_wrong"], ours["cents_wrong"], ours["rows_wrong"]) == (0, 0, 0)
    assert all(0.001 < other["error"] < 0.1 for other in others)


def test_every_answer_to_a_query_is_the_truth_while_segments_come(lake):
    known = {"query": dict(measure_query(lake, 20_000, 1.0, 2))}
    [told] = known["query"].values()
    assert told["error"] == [0, 0]
    for p50, p99, most in zip(told["p50_ms"], told["p99_ms"], told["max_ms"], strict=True):
        assert 0 < p50 <= p99 <= most
    assert "| 20,000 rows" in table(known)
    assert figures(known)["query_20000_rows_p50_ms"] == pytest.approx(sum(told["p50_ms"]) / 2)


def test_answers_to_queries_that_are_not_the_truth_are_the_error(lake, monkeypatch):
    made = speed_query._made

    def half_false(lake, users):
        told = made(lake, users)
        false = {user: (0, 0.0) for user in list(told.truth)[::2]}
        return dataclasses.replace(told, truth=told.truth | false)

    monkeypatch.setattr(speed_query, "_made", half_false)
    known = {"query": dict(measure_query(lake, 20_000, 1.0, 1))}
    assert 0.3 < figures(known)["query_20000_rows_error"] < 0.7


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
    cell = {"arm": "ours", "series": "keys", "seconds": [1], "events_per_second": [1], "events_per_cpu_second": [1]}
    cell |= {"error": [0.0], "peak_bytes": [1 << 30], "failed": None}
    sizes = {f"{n} keys": cell | {"size": n, "events": 10, "cpu_seconds": [n**2]} for n in (10, 100, 1000)}
    assert figures({"growth": sizes})["growth_exponent_keys"] == pytest.approx(2)


def test_cells_are_measured_in_turns_of_which_each_begins_one_and_one_that_fails_is_left_alone():
    taken, seconds = [], itertools.count(1)

    def run(name):
        taken.append(name)
        if taken.count("c") == 2 and name == "c":
            raise ArmFailed("c fell\nits log")
        return {"seconds": next(seconds)}

    cells = [Cell(name, {"arm": name}, lambda name=name: run(name)) for name in "abc"]
    told = dict(in_turns(cells, 3))
    assert "".join(taken) == "abcbcaab"
    assert told["a"] == {"arm": "a", "seconds": [1, 5, 6], "failed": None}
    assert told["b"]["seconds"] == [2, 4, 7]
    assert told["c"] == {"arm": "c", "seconds": [3], "failed": "c fell\nits log"}


def test_every_table_of_speeds_has_their_error_and_every_figure_has_a_name():
    speeds = {"seconds": [2.0, 4.0, 3.0], "cpu_seconds": [4.0], "events_per_second": [5], "events_per_cpu_second": [7]}
    arm = {"arm": "ours", "events": 10, **speeds, "peak_bytes": [1 << 30], "error": [0.0, 0.5], "failed": None}
    waits = {"rate": 5, "error": [0.25], "failed": None}
    waits |= {name: [1.0, 3.0, 2.0] for name in (*speed_report._FRESH, *speed_report._QUERY)}
    seam = {"events": 10, "events_wrong": 1, "cents_wrong": 2, "rows_wrong": 1, "error": 0.1}
    known = {
        **{"catchup": {"ours 10": arm}, "landing": {"ours 10": arm}, "timecut": {"ours": seam}},
        **{"growth": {"keys 1": arm | {"arm": "keys 1", "series": "keys", "size": 1}}},
        **{"freshness": {"5 a second": waits}, "query": {"7 rows": waits | {"rows": 7}}},
    }
    assert set(known) == set(PARTS)
    found = figures(known)
    for cell in ("catchup_ours", "landing_ours", "growth_keys_1"):
        assert found[f"{cell}_error"] == 0.5
        assert (found[f"{cell}_seconds"], found[f"{cell}_cpu_seconds"]) == (3, 4)
        assert (found[f"{cell}_events_per_second"], found[f"{cell}_events_per_cpu_second"]) == (5, 7)
    assert found["freshness_5_a_second_p99_ms"] == 2
    assert found["freshness_5_a_second_error"] == found["query_7_rows_error"] == 0.25
    tables = table(known).split("\n\n")
    assert len(tables) == len(PARTS)
    assert all("error" in each.splitlines()[0] for each in tables)
    assert "2 (1 to 3)" in table({"freshness": known["freshness"]})


def test_ours_is_grown_on_flink_with_as_many_workers_as_are_asked_for():
    command = ours(Spread(groups=2, workers=2, runner="flink")).command
    assert " ".join(command).endswith("--groups 2 --workers 2 --runner flink")
