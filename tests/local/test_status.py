"""`python -m local status` and `logs`, `down`: what a person or a script reads about the stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from local.stack import Stack
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
