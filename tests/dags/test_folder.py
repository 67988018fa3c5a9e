"""Every DAG loads, says what it is for, names programs that exist, and is tried, timed and told of in the same way."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from dags.alert import alert
from dags.run_module import RunModule

FOLDER = Path(__file__).parents[2] / "dags"
SCHEDULED = {"build_marts", "compact_lake", "verify_views", "expire"}
MANUAL = {"rebuild_marts", "load_dimensions", "forget"}


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(FOLDER)


def test_the_folder_loads_without_errors_and_each_dag_has_a_file_of_its_name(bag):
    assert bag.import_errors == {}
    assert set(bag.dags) == SCHEDULED | MANUAL
    assert all(Path(dag.fileloc) == FOLDER / f"{name}.py" for name, dag in bag.dags.items())


def test_a_module_is_a_dag_or_airflow_does_not_look_at_it(bag):
    ignored = {line for line in (FOLDER / ".airflowignore").read_text().splitlines() if not line.startswith("#")}
    assert {path.name for path in FOLDER.glob("*.py")} == ignored | {f"{name}.py" for name in bag.dags}


def test_every_dag_tells_what_it_is_for_and_runs_once_at_a_time(bag):
    for name, dag in bag.dags.items():
        assert dag.doc_md.strip().startswith("### ") and dag.description and dag.tags, name
        assert dag.max_active_runs == 1, name
        assert dag.timetable.can_be_scheduled == (name in SCHEDULED), name
        for param in dag.params:
            told = dag.params.get_param(param)
            assert told.schema["title"] and told.description, (name, param)


def test_every_task_has_an_owner_an_end_and_an_alert_and_is_tried_again_later_and_later(bag):
    tasks = [task for dag in bag.dags.values() for task in dag.tasks]
    assert len(tasks) == 16
    for task in tasks:
        assert task.owner == "tidemark" and task.retries >= 1, task.task_id
        assert task.execution_timeout > timedelta(0), task.task_id
        assert task.retry_exponential_backoff > 1 and task.max_retry_delay, task.task_id
        assert list(task.on_failure_callback) == [alert], task.task_id


def test_every_program_that_a_task_names_exists(bag):
    modules = {task.module for dag in bag.dags.values() for task in dag.tasks if isinstance(task, RunModule)}
    assert modules == {
        "lake.cli",
        *(f"jobs.{name}" for name in ("build_mart", "rebuild_marts", "compact_raw", "compact_marts")),
        *("jobs.expire", "jobs.forget"),
    }
    assert [module for module in sorted(modules) if find_spec(module) is None] == []
    assert find_spec("jobs.nothing") is None
