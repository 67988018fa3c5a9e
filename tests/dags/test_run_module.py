"""A program ends with its task, and its last words are the task's error."""

from __future__ import annotations

import logging
import re
import threading

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.request import BadRequest
from dags.run_module import RunModule
from tests.faults.parts import wait_for


def _task(module: str, *arguments: str) -> RunModule:
    return RunModule(task_id="task", module=module, domain="shop", arguments=lambda domain, context: arguments)


def test_what_a_program_refuses_is_the_tasks_error_and_in_its_log(caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(AirflowException, match=r"lake.cli ended with 2:\n.*'soon' is no time; write it like") as error,
    ):
        _task("lake.cli", "seal", "--at", "soon").execute({})
    assert not isinstance(error.value, AirflowFailException)  # it is tried again


def test_an_argument_that_looks_like_shell_stays_an_argument():
    with pytest.raises(AirflowException, match=r"--at '\$\(touch /tmp/x\); ls' is no time"):
        _task("lake.cli", "seal", "--at", "$(touch /tmp/x); ls").execute({})


def test_a_request_that_cannot_be_built_is_not_tried_again():
    def arguments(_domain, _context):
        raise BadRequest("t1='soon' is no time")

    with pytest.raises(AirflowFailException, match="t1='soon' is no time"):
        RunModule(task_id="task", module="lake.cli", domain="shop", arguments=arguments).execute({})


def test_a_killed_task_leaves_neither_its_program_nor_what_that_started():
    task, failures, said = _task("tests.dags.endless"), [], []
    begun = threading.Event()

    def hear(line: str, *values: object) -> None:
        said.append(line % values)
        if said[-1].startswith("begun"):
            begun.set()

    def execute() -> None:
        try:
            task.execute({})
        except AirflowException as error:
            failures.append(str(error))

    task.log.info = hear  # type: ignore[method-assign]
    thread = threading.Thread(target=execute)
    thread.start()
    assert begun.wait(60)
    child = psutil.Process(int(re.search(r"begun (\d+)", said[-1])[1]))  # type: ignore[index]
    task.on_kill()
    thread.join(30)
    assert failures[0].startswith("tests.dags.endless ended with -15")
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
