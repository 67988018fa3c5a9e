"""The doctor names what is missing and how to get it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from local.doctor import PYTHONS, examine
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
        bad = [f for f in examine(tmp_path, ports, own_ports=False, is_set_up=True) if f.what == f"port {port}"]
    assert [finding.ok for finding in bad] == [False]
    assert "TIDEMARK_PORT_AIRFLOW" in bad[0].fix


@pytest.mark.parametrize(("is_set_up", "free", "ok"), [(True, 1, False), (True, 4, True), (False, 4, False)])
def test_a_disk_that_is_too_full_is_named_with_the_setting_that_moves_the_state(
    is_set_up: bool, free: float, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.doctor.free_gib", lambda path: free)
    disk = next(f for f in examine(tmp_path, Ports.free(), False, is_set_up) if f.what == "disk")
    assert disk.ok == ok and "TIDEMARK_HOME" in disk.sentence


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10, 4), False), ((3, 11, 0), True), ((3, 12, 9), True), ((3, 13, 0), False)]
)
def test_the_pythons_that_will_do_are_those_of_the_package(
    version: tuple[int, ...], ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert next(f for f in examine(tmp_path, Ports.free(), False, True) if f.what == "python").ok == ok
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    lowest, end = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", required).groups()
    assert tuple((3, minor) for minor in range(int(lowest), int(end))) == PYTHONS
