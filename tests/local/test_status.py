"""`python -m local status` and `logs`, `down`: what a person or a script reads about the stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from local.stack import Stack
from local.status import PartStatus, Status, render
from local.tools import ROOT


def _local(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env=os.environ | {"TIDEMARK_HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
    )


def test_status_json_sums_the_pss_of_every_process_of_the_stack(stack: Stack) -> None:
    found = json.loads(_local(stack.home, "status", "--json").stdout)
    parts = {part["name"]: part for part in found["parts"]}
    assert {name for name, part in parts.items() if part["state"] == "RUNNING"} >= {
        "kafka",
        "minio",
    }
    assert parts["lander"]["state"] == "STOPPED" and parts["lander"]["pss_bytes"] == 0
    rss = psutil.Process(parts["kafka"]["pid"]).memory_info().rss
    assert 0.3 * rss < parts["kafka"]["pss_bytes"] <= 1.1 * rss
    by_part = sum(part["pss_bytes"] for part in found["parts"])
    assert by_part < found["pss_bytes"] < by_part + 200 * 2**20  # supervisord itself
    assert parts["airflow"]["user"] == "admin" and parts["airflow"]["password"]
    addresses = {name: part["metrics"] for name, part in parts.items() if part["metrics"]}
    assert addresses.keys() == {"lander", "speed", "canary", "dashboard"} and len(set(addresses.values())) == 4
    for name, address in addresses.items():
        port = stack.variables()[f"TIDEMARK_PORT_{name.upper()}_METRICS"]
        assert address == f"http://127.0.0.1:{port}/metrics"
        assert stack.parts()[name].launch[:2] == ["env", f"TIDEMARK_METRICS_PORT={port}"]


def test_status_of_a_home_without_a_stack_says_so(tmp_path: Path) -> None:
    found = json.loads(_local(tmp_path, "status", "--json").stdout)
    assert (found["running"], found["pss_bytes"], found["parts"]) == (False, 0, [])
    assert "make demo" in _local(tmp_path, "status").stdout


def test_down_is_fine_when_nothing_runs(tmp_path: Path) -> None:
    done = _local(tmp_path, "down")
    assert (done.returncode, done.stdout) == (0, "Nothing was running.\n")


def test_logs_shows_a_part_and_names_the_others_when_there_is_none(stack: Stack) -> None:
    assert "Ready to accept connections" in _local(stack.home, "logs", "store").stdout
    missing = _local(stack.home, "logs", "kafak")
    assert missing.returncode == 2
    assert "kafak" in missing.stderr and "kafka, minio, store" in missing.stderr


def test_an_unknown_part_is_answered_with_the_parts_there_are(stack: Stack) -> None:
    done = _local(stack.home, "up", "kafkaa")
    assert done.returncode == 2
    assert "kafkaa" in done.stderr and "kafka, minio, store" in done.stderr


@pytest.mark.parametrize(
    ("paused", "said", "unsaid"),
    [
        (None, [], ["aused"]),
        ({}, ["still reading its DAGs", "switch on build_marts"], ["Paused in"]),
        ({"expire": True}, ["still reading its DAGs", "switch on build_marts"], ["Paused in"]),
        (
            {"build_marts": True, "expire": True},
            ["Paused in Airflow", ": build_marts, expire.", "no slice is built"],
            [],
        ),
        ({"build_marts": False, "expire": True}, [": expire. The switch"], ["no slice is built"]),
        ({"build_marts": False}, [], ["aused"]),
    ],
)
def test_what_is_paused_is_told_and_what_that_means(
    paused: dict[str, bool] | None, said: list[str], unsaid: list[str]
) -> None:
    console = Console(width=300)
    with console.capture() as captured:
        console.print(render(Status("home", True, 0, [], paused)))
    assert all(part in captured.get() for part in said) and not any(part in captured.get() for part in unsaid)


def test_the_metrics_of_what_runs_are_shown() -> None:
    def part(name: str, pid: int | None) -> PartStatus:
        return PartStatus(name, "RUNNING", pid, 1, 0, None, None, None, f"http://127.0.0.1:1910{len(name)}/metrics")

    console = Console(width=300)
    with console.capture() as captured:
        console.print(render(Status("home", True, 0, [part("lander", 7), part("speed", None)])))
    assert "lander     http://127.0.0.1:19106/metrics" in captured.get() and "19105" not in captured.get()


@pytest.mark.parametrize("arguments", [("up", "--help"), ("--help",)])
def test_help_calls_the_program_by_the_name_that_people_type(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert " tidemark " in _local(tmp_path, *arguments).stdout.partition("Usage:")[2].splitlines()[0]
