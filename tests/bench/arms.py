"""Starts the arms of a comparison, tells them what to do and measures them from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from tests.bench.process_tree import Peak, cpu_seconds


@dataclass(frozen=True)
class Answer:
    """What one call took: wall and CPU seconds of the process, its JVM and their workers; and what it found."""

    seconds: float
    cpu_seconds: float
    rows: list[tuple]


class Arm:
    """A process of `batch_arm`, warm; leave it to end it."""

    def __init__(self, kind: str, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.bench.batch_arm", kind]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=dict(environment), stdin=pipe, stdout=pipe, text=True)
        self._read()

    def __enter__(self) -> Arm:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def call(self, do: str, **told: object) -> Answer:
        before = cpu_seconds(self._process.pid)
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **told}), file=self._process.stdin, flush=True)
        answer = self._read()
        used = cpu_seconds(self._process.pid) - before
        return Answer(answer["seconds"], used, [tuple(row) for row in answer["rows"]])

    def peak(self) -> Peak:
        """Watches the memory of the process, its JVM and their workers."""
        return Peak(self._process.pid)

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"an arm ended with {self._process.wait()}; what it said is on stderr")
        return json.loads(line)
