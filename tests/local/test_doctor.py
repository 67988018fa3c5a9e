"""The doctor names what is missing and how to get it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.doctor import examine
from local.ports import Ports
from local.tools import ROOT


def _doctor(path: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | Ports.free().variables()
    return subprocess.run(
        [sys.executable, "-m", "local", "doctor"],
        cwd=ROOT,
        env=environment | {"PATH": path, "TIDEMARK_HOME": str(home)},
        check=False,
        capture_output=True,
        text=True,
    )


def _program(directory: Path, name: str, says: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    (directory / name).chmod(0o755)


def test_each_missing_program_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    done = _doctor(str(tmp_path), tmp_path / "home")
    assert done.returncode == 1
    for name, fix in {
        "java": "apt install openjdk-17-jdk",
        "javac": "not a JRE",
        "mvn": "dnf install maven",
        "go": "brew install go",
    }.items():
        line = next(x for x in done.stdout.splitlines() if x.startswith(f"{name} (missing"))
        assert fix in line


def test_a_java_that_is_too_old_counts_as_missing(tmp_path: Path) -> None:
    _program(tmp_path, "java", 'openjdk version "11.0.2" 2019-01-15')
    done = _doctor(f"{tmp_path}:/usr/bin:/bin", tmp_path / "home")
    assert done.returncode == 1
    assert "java (11.0.2, wanted >= 17)" in done.stdout


def test_a_machine_with_everything_passes(tmp_path: Path) -> None:
    for name, says in {
        "java": 'openjdk version "21.0.1"',
        "javac": "javac 21",
        "mvn": "\033[1mApache Maven 3.8.7\033[m",
        "go": "go version go1.26.8 linux/amd64",
    }.items():
        _program(tmp_path, name, says)
    done = _doctor(f"{tmp_path}:/usr/bin:/bin", tmp_path / "home")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Nothing is missing.")


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = Ports.read(Ports.free().variables() | {"TIDEMARK_PORT_AIRFLOW": str(port)})
        bad = [f for f in examine(tmp_path, ports, own_ports=False) if f.what == f"port {port}"]
    assert [finding.ok for finding in bad] == [False]
    assert "TIDEMARK_PORT_AIRFLOW" in bad[0].fix


def test_a_full_disk_is_named_with_the_setting_that_moves_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.doctor.free_gib", lambda path: 1.0)
    disk = next(f for f in examine(tmp_path, Ports.free(), False) if f.what == "disk")
    assert not disk.ok and "TIDEMARK_HOME" in disk.sentence
