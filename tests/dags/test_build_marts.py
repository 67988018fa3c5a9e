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
from dags.request import EVERY
from dags.run_module import RunModule
from lake.cuts import EPOCH, epoch_ms, format_time, from_ms, segment_start
from lake.kernel import QUARANTINE, Kernel
from lake.marts import manifests, mart_uri
from lake.raw import Raw
from lake.tables import open_table
from tests.faults.parts import Worker, run
from tests.streaming.routes import declare


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
def other(sandbox):
    """A second domain, of which nothing but markers is landed."""
    return declare(sandbox.settings, "other")


@pytest.fixture
def landers(sandbox, other, tmp_path) -> Iterator[list[Worker]]:
    names = [sandbox.domain.name, other.domain.name]
    workers = [Worker("streaming.land", name, sandbox.environment, tmp_path / f"{name}.log") for name in names]
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        worker.kill()


def test_a_run_builds_every_view_of_every_domain_and_emits_frontiers_and_counts_and_a_rerun_of_one_replaces(
    sandbox, other, landers, airflow_environment
):
    name, environment = sandbox.domain.name, sandbox.environment | airflow_environment
    run(environment, "streaming.produce", "--domain", name, "--like", "shop", "--count", "2000")
    t1 = from_ms(segment_start(epoch_ms(datetime.now(UTC)), 10) + 10_000)
    one, every = ({"domain": domain, "t1": format_time(t1)} for domain in (name, EVERY))
    script = ["tests.dags.run_dag", *map(json.dumps, ({**one, "t1": "2026-11-21T09:00:05Z"}, every, one))]
    refused, built, rebuilt = run(environment, *script)

    assert refused["state"] == "failed" and refused["tasks"]["seal"] == ["failed"] and refused["events"] == []
    raw = Raw(sandbox.settings, sandbox.domain)
    for outcome, action, names in ((built, "append", {name, other.domain.name}), (rebuilt, "replace", {name})):
        each = ["success"] * len(names)
        assert outcome["tasks"] == {"choose": ["success"], "seal": each, "build": each, "publish": each}
        events = {event["uri"]: event for event in outcome["events"]}
        assert set(events) == {f"s3://{sandbox.settings.bucket}/marts/{domain}" for domain in names}
        event = events[f"s3://{sandbox.settings.bucket}/marts/{name}"]
        assert {tile["action"] for tile in event["extra"]["tiles"]} == {action}
        for view in [*sandbox.domain.stored_views, QUARANTINE]:
            uri = mart_uri(sandbox.settings, name, view, Kernel(sandbox.domain).definition_hash(view))
            [tile] = manifests(open_table(sandbox.settings, uri), sandbox.settings, uri)
            assert (tile.t0, tile.t1, tile.cut_end) == (EPOCH, t1, raw.cut(t1))
            assert event["extra"]["frontier"][view] == format_time(t1)
            assert event["extra"]["rows"][view] == tile.rows > 0
            assert tile.good + tile.quarantined == 2000
