"""The DAG loads, names programs that exist, and a run of it builds the marts and emits their asset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import CronDataIntervalTimetable
from airflow.sdk.exceptions import ParamValidationError

from dags.build_marts import dag
from dags.run_module import RunModule
from lake.cuts import EPOCH, epoch_ms, format_time, from_ms, segment_start
from lake.kernel import QUARANTINE, Kernel
from lake.marts import manifests, mart_uri
from lake.raw import Raw
from lake.tables import open_table
from tests.faults.parts import Worker, run


def test_the_folder_loads_without_errors_and_holds_the_one_dag():
    bag = DagBag(Path(__file__).parents[2] / "dags")
    assert bag.import_errors == {}
    assert list(bag.dags) == ["build_marts"]


def test_seal_build_and_publish_follow_each_other_one_run_at_a_time():
    order = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert order == {"choose": ["build", "seal"], "seal": ["build"], "build": ["publish"], "publish": []}
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert dag.max_active_runs == 1
    assert all(task.execution_timeout and task.retries == 2 and task.owner == "tidemark" for task in dag.tasks)
    assert set(dag.params) == {"domain", "t0", "t1"}


def test_every_program_that_a_task_names_exists():
    modules = [task.module for task in dag.tasks if isinstance(task, RunModule)]
    assert modules == ["lake.cli", "jobs.build_mart"]
    assert all(find_spec(module) for module in modules)


@pytest.mark.parametrize("name", ["t0", "t1"])
def test_a_parameter_that_is_no_time_is_refused_before_there_is_a_run(name):
    param = dag.params.get_param(name)
    assert param.resolve("2026-11-21T10:00:00.000+01:00") and param.resolve(None) is None
    with pytest.raises(ParamValidationError, match="'soon' does not match"):
        param.resolve("soon")


@pytest.fixture
def lander(sandbox, tmp_path) -> Iterator[Worker]:
    worker = Worker("streaming.land", sandbox.domain.name, sandbox.environment, tmp_path / "lander.log")
    worker.start()
    yield worker
    worker.kill()


def test_a_run_builds_every_view_and_emits_frontiers_and_counts_and_a_rerun_replaces(
    sandbox, lander, airflow_environment
):
    name, environment = sandbox.domain.name, sandbox.environment | airflow_environment
    run(environment, "streaming.produce", "--domain", name, "--like", "shop", "--count", "2000")
    t1 = from_ms(segment_start(epoch_ms(datetime.now(UTC)), 10) + 10_000)
    given = {"domain": name, "t1": format_time(t1)}
    script = ["tests.dags.run_dag", *map(json.dumps, ({**given, "t1": "2026-11-21T09:00:05Z"}, given, given))]
    refused, built, rebuilt = run(environment, *script)

    assert refused["state"] == "failed" and refused["tasks"]["seal"] == ["failed"] and refused["events"] == []
    raw = Raw(sandbox.settings, sandbox.domain)
    for outcome, action in ((built, "append"), (rebuilt, "replace")):
        assert outcome["tasks"] == {task: ["success"] for task in ("choose", "seal", "build", "publish")}
        [event] = outcome["events"]
        assert event["uri"] == f"s3://{sandbox.settings.bucket}/marts/{name}"
        assert {tile["action"] for tile in event["extra"]["tiles"]} == {action}
        for view in [*sandbox.domain.stored_views, QUARANTINE]:
            uri = mart_uri(sandbox.settings, name, view, Kernel(sandbox.domain).definition_hash(view))
            [tile] = manifests(open_table(sandbox.settings, uri), sandbox.settings, uri)
            assert (tile.t0, tile.t1, tile.cut_end) == (EPOCH, t1, raw.cut(t1))
            assert event["extra"]["frontier"][view] == format_time(t1)
            assert event["extra"]["rows"][view] == tile.rows > 0
            assert tile.good + tile.quarantined == 2000
