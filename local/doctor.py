"""What this machine lacks for the stack, and how to get it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from local.cache import MIN_FREE_GIB, free_gib
from local.errors import ToolMissing
from local.ports import Ports, is_taken, variable

PYTHONS = ((3, 11), (3, 12))
"""As pyproject.toml says in requires-python."""
MIN_FREE_MEMORY_GIB = 6
"""Measured: the demo of all domains has 2.9 GiB (PSS) between builds; Spark's driver and its workers come on top."""
MIN_FREE_GIB_BEFORE_SETUP = 10
"""Measured: Python's packages 2.1 GiB, Go's modules and build cache 3.5, the tools 0.3; the rest is for data."""


@dataclass(frozen=True)
class Finding:
    what: str
    found: str
    wanted: str
    ok: bool
    fix: str

    @property
    def sentence(self) -> str:
        return f"{self.what} ({self.found}, wanted {self.wanted}): {self.fix}"


@dataclass(frozen=True)
class _Program:
    name: str
    version_option: str
    at_least: int
    package: str
    """How to get it, per system."""


_PROGRAMS = (
    _Program(
        "java",
        "-version",
        17,
        "Debian: apt install openjdk-17-jdk; Ubuntu: apt install openjdk-21-jdk; "
        "Fedora: dnf install java-21-openjdk-devel; macOS: brew install openjdk@21",
    ),
    _Program(
        "javac",
        "-version",
        17,
        "a JDK, not a JRE. Debian: apt install openjdk-17-jdk; Ubuntu: apt install openjdk-21-jdk; "
        "Fedora: dnf install java-21-openjdk-devel; macOS: brew install openjdk@21",
    ),
    _Program(
        "mvn",
        "-v",
        3,
        "Debian/Ubuntu: apt install maven; Fedora: dnf install maven; macOS: brew install maven",
    ),
    _Program(
        "go",
        "version",
        1,
        "1.21 or newer (it fetches the toolchain it needs). https://go.dev/dl, or Debian 13/Ubuntu: "
        "apt install golang; Fedora: dnf install golang; macOS: brew install go",
    ),
)


def examine(home: Path, ports: Ports, own_ports: bool, is_set_up: bool) -> list[Finding]:
    """Every finding, good or bad. `own_ports` means our stack runs, so its ports are in use by it; once the tools are
    there (`is_set_up`), less disk will do."""
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(
            "python",
            version,
            "3.11 or 3.12",
            sys.version_info[:2] in PYTHONS,
            "Debian 12: apt install python3 python3-venv; Ubuntu 24.04: apt install python3.12-venv; "
            "Fedora: dnf install python3.12; macOS: brew install python@3.12; or `uv python install 3.12`",
        )
    ]
    findings += [_program(program) for program in _PROGRAMS]
    disk, memory = free_gib(home), psutil.virtual_memory().available / 2**30
    wanted_disk = MIN_FREE_GIB if is_set_up else MIN_FREE_GIB_BEFORE_SETUP
    findings += [
        Finding(
            "disk",
            f"{disk:.0f} GiB free",
            f">= {wanted_disk} GiB",
            disk >= wanted_disk,
            f"free some space near {home}, or set TIDEMARK_HOME to a directory on a larger disk",
        ),
        Finding(
            "memory",
            f"{memory:.0f} GiB available",
            f">= {MIN_FREE_MEMORY_GIB} GiB",
            memory >= MIN_FREE_MEMORY_GIB or own_ports,
            "stop other programs; the demo needs most of it while Spark builds a slice",
        ),
    ]
    if not own_ports:
        findings += [
            Finding(
                f"port {port}",
                "taken" if is_taken(port) else "free",
                f"free, for {name}",
                not is_taken(port),
                f"`ss -ltnp` shows the program that has it; or set {variable(name)}=<another port>",
            )
            for name, port in vars(ports).items()
        ]
    return findings


def require_programs() -> None:
    """Raise ToolMissing, which names every program that set-up would miss, and how to get it."""
    missing = [finding for program in _PROGRAMS if not (finding := _program(program)).ok]
    if missing:
        raise ToolMissing("\n".join(finding.sentence for finding in missing))


def _program(program: _Program) -> Finding:
    wanted = f">= {program.at_least}" if program.at_least > 1 else ">= 1.21"
    path = shutil.which(program.name)
    if path is None:
        return Finding(program.name, "missing", wanted, False, program.package)
    said = subprocess.run([path, program.version_option], check=False, capture_output=True, text=True)
    plain = re.sub(r"\x1b\[[\d;]*m", "", said.stdout + said.stderr)  # Maven colours even a pipe
    match = re.search(r"(\d+)((?:\.\d+)*)", plain)
    found = match[0] if match else "?"
    ok = match is not None and said.returncode == 0 and _is_enough(program, found)
    return Finding(program.name, found, wanted, ok, program.package)


def _is_enough(program: _Program, version: str) -> bool:
    numbers = [int(number) for number in version.split(".")]
    if program.name == "go":
        return numbers[:2] >= [1, 21]
    return numbers[0] >= program.at_least
