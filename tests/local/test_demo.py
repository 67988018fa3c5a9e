"""What the demo says while it waits."""

from __future__ import annotations

from local.airflow import Task
from local.slices import progress


def _task(name: str, state: str, index: int = -1) -> Task:
    return Task(name, state, 1, index, f"{name} {index}")


def test_the_progress_of_a_slice_is_one_line_however_many_domains_it_builds():
    one = [_task("choose", "success"), _task("seal", "success", 0), _task("build", "running", 0)]
    assert progress(one) == "choose success, seal success, build running"
    five = [_task("choose", "success"), *(_task("seal", "success" if n < 3 else "running", n) for n in range(5))]
    assert progress(five) == "choose success, seal success x3, seal running x2"
