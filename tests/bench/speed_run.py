"""One run of an arm: warmed on a first part, stopped while the main part is written, then timed to its answer's end.

Invariant: the arm is measured from outside alone. Its answer says how far it is; the CPU time is that of its processes
when the answer last changed. Kafka's and the store's own is in no figure.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil

from tests.bench.process_tree import Peak, cpu_seconds, tree
from tests.bench.speed_events import Error, SpeedEvents, added, error_of
from tests.bench.speed_stream import Stream

START_SECONDS = 240.0
_LOOK_SECONDS = 0.05
_MEMORY_SECONDS = 1.0  # to add up a tree's PSS takes some 20 ms of the machine
_SETTLE_SECONDS, _MOST_SETTLE_SECONDS, _IDLE, _BUSY_PATIENCE = 1.5, 30.0, 0.3, 5


class ArmFailed(Exception):
    """An arm cannot be had, or did not do what it was started for; the message says why."""


class Arm(Protocol):
    """Something that reads a stream's topic for ever and keeps an answer."""

    name: str

    def prepare(self) -> None:
        """Fetch what the arm needs. Raises ArmFailed."""

    def start(self, stream: Stream) -> subprocess.Popen:
        """A process that begins at the topic's beginning."""

    def progress(self, stream: Stream) -> int:
        """How far its answer has come; cheap."""

    def goal(self, events: Sequence[SpeedEvents]) -> int:
        """What the progress is once the answer holds all of these."""

    def answer(self, stream: Stream) -> Mapping[tuple, tuple[int, int]]:
        """As `Counts`."""


@dataclass(frozen=True)
class Run:
    """Of the main part alone: wall and CPU seconds, the peak of memory; and the error of the whole answer."""

    events: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    error: Error


def run_arm(arm: Arm, stream: Stream, warm: Sequence[SpeedEvents], main: SpeedEvents, patience: float) -> Run:
    """`warm`: the first part, in pieces that come one after another, for what compiles itself while it runs.

    `patience`: after so many seconds without a change the answer is taken as final. Raises ArmFailed.
    """
    stream.feed(warm[0])
    process = arm.start(stream)
    try:
        goal = arm.goal(warm[:1])
        reached = _follow(arm, stream, process, goal, START_SECONDS)
        if reached.progress < 0.9 * goal:
            raise ArmFailed(f"{arm.name} came to {reached.progress} of {goal} on the first part\n{log_tail(stream)}")
        for number, piece in enumerate(warm[1:], start=2):
            stream.feed(piece)
            _follow(arm, stream, process, arm.goal(warm[:number]), patience)
        _settle(process)
        with _stopped(process):
            stream.feed(main)
        before, begun = cpu_seconds(process.pid), time.monotonic()
        with Peak(process.pid, _MEMORY_SECONDS) as peak:
            reached = _follow(arm, stream, process, arm.goal([*warm, main]), patience)
        error = error_of(arm.answer(stream), added(*(each.truth for each in (*warm, main))))
        return Run(main.count, reached.at - begun, reached.cpu - before, peak.pss, error)
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """Kill the process and what it has started."""
    for each in reversed(tree(process.pid)):
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(60)


def log_tail(stream: Stream, lines: int = 8) -> str:
    """The end of what the arm said."""
    log = stream.folder / "log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def wait_for(reached: Callable[[], bool], process: subprocess.Popen, stream: Stream, seconds: float) -> None:
    """Raises ArmFailed if the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while not reached():
        if process.poll() is not None:
            raise ArmFailed(f"the process ended with {process.returncode}\n{log_tail(stream)}")
        if time.monotonic() > deadline:
            raise ArmFailed(f"not there within {seconds:.0f} s\n{log_tail(stream)}")
        time.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class _Reached:
    progress: int
    at: float
    cpu: float


def _follow(arm: Arm, stream: Stream, process: subprocess.Popen, goal: int, patience: float) -> _Reached:
    """Until the goal is reached, or nothing has changed for `patience` seconds: when it last changed.

    While the arm is busy it may take `_BUSY_PATIENCE` times as long: a batch may be large.
    """
    last = _Reached(0, time.monotonic(), cpu_seconds(process.pid))
    busy_at, looked_at, used = last.at, last.at, last.cpu
    while last.progress < goal and (now := time.monotonic()) < last.at + _BUSY_PATIENCE * patience:
        if process.poll() is not None:
            raise ArmFailed(f"{arm.name} ended with {process.returncode}\n{log_tail(stream)}")
        if now - looked_at > 1:
            before, used = used, cpu_seconds(process.pid)
            busy_at = now if used - before > _IDLE * (now - looked_at) else busy_at
            looked_at = now
        progress = arm.progress(stream)
        if progress != last.progress:
            last = _Reached(progress, time.monotonic(), cpu_seconds(process.pid))
        elif now - max(last.at, busy_at) > patience:
            break
        time.sleep(_LOOK_SECONDS)
    return last


def _settle(process: subprocess.Popen) -> None:
    """Until it has done with the first part: it uses less than a third of a core, or does so for too long."""
    deadline = time.monotonic() + _MOST_SETTLE_SECONDS
    used = float("inf")
    while used > _IDLE * _SETTLE_SECONDS and time.monotonic() < deadline:
        before = cpu_seconds(process.pid)
        time.sleep(_SETTLE_SECONDS)
        used = cpu_seconds(process.pid) - before


class _stopped:
    """While this lasts, neither the process nor what it has started runs."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def __enter__(self) -> None:
        self._signal("suspend")

    def __exit__(self, *_: object) -> None:
        self._signal("resume")

    def _signal(self, name: str) -> None:
        for each in tree(self._process.pid):
            getattr(each, name)()
