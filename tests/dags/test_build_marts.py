"""A run of `build_marts` seals, builds and publishes, and its form takes only times."""

from __future__ import annotations

import pytest
from airflow.sdk import CronDataIntervalTimetable
from airflow.sdk.exceptions import ParamValidationError

from dags.build_marts import dag, tell_build


def test_seal_build_and_publish_follow_each_other_one_run_at_a_time():
    order = {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks}
    assert order == {"choose": ["build", "seal"], "seal": ["build"], "build": ["publish"], "publish": []}
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert dag.max_active_runs == 1
    assert set(dag.params) == {"domain", "t0", "t1"}


@pytest.mark.parametrize("name", ["t0", "t1"])
def test_a_parameter_that_is_no_time_is_refused_before_there_is_a_run(name):
    param = dag.params.get_param(name)
    assert param.resolve("2026-11-21T10:00:00.000+01:00") and param.resolve(None) is None
    with pytest.raises(ParamValidationError, match="'soon' does not match"):
        param.resolve("soon")


def test_a_builds_label_says_the_slice_and_its_size():
    tile = {"t0": "2026-11-21T09:00:00Z", "t1": "2026-11-21T10:00:00Z", "events": 50}
    told = tell_build({"views": [tile | {"rows": 3}, tile | {"rows": 4}]})
    assert told == "[2026-11-21T09:00:00Z, 2026-11-21T10:00:00Z), 7 rows of 50 events"
    assert tell_build({"views": []}) == "nothing to build"
