"""A program ends with its task, and its last words are the task's error."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.request import BadRequest
from dags.run_module import RunModule
from tests.faults.parts import ROOT, wait_for


def _task(module: str, *arguments: str) -> RunModule:
    return RunModule(task_id="task", module=module, domain="shop", arguments=lambda domain, context: arguments)


def test_what_a_program_refuses_is_the_tasks_error_and_in_its_log(caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(AirflowException, match=r"lake.cli ended with 2:\n.*'soon' is no time; write it like") as error,
    ):
        _task("lake.cli", "seal", "--at", "soon").execute({})
    assert not isinstance(error.value, AirflowFailException)  # it is tried again


def test_the_result_is_found_among_the_words_of_a_jvm_on_the_same_stdout(capfd):
    subprocess.run([sys.executable, "-m", "tests.dags.talkative"], cwd=ROOT, check=True)
    before, result, after = capfd.readouterr().out.partition('{"domain": "shop"}')
    assert result and "[gc]" in before and "[gc]" in after
    assert _task("tests.dags.talkative").execute({}) == {"domain": "shop"}


def test_a_program_that_ends_well_without_a_result_is_an_error_with_its_last_words():
    with pytest.raises(AirflowException, match=r"said no result in its last \d+ lines:\n.*\[gc\]"):
        _task("tests.dags.talkative", "silent").execute({})


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
    wait_for(lambda: _ended(child), "its child ends", 10)


def test_a_task_whose_process_is_lost_leaves_neither_its_driver_nor_the_jvm_of_that(airflow_environment):
    command = [sys.executable, "-m", "tests.dags.run_task", "tests.dags.endless_driver"]
    task = subprocess.Popen(command, cwd=ROOT, env=os.environ | airflow_environment, stdout=subprocess.PIPE, text=True)
    family: list[psutil.Process] = []
    try:
        assert task.stdout is not None
        assert any("begun" in line for line in task.stdout)
        # What Spark's scripts have started and left may still be there, ended.
        family = [each for each in psutil.Process(task.pid).children(recursive=True) if not _ended(each)]
        assert [process.name() for process in family][1:] == ["java"]
        task.kill()
        wait_for(lambda: all(map(_ended, family)), "the driver and its JVM end", 60)
    finally:
        task.kill()
        task.wait()
        for process in family:
            if not _ended(process):
                process.kill()


def _ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
