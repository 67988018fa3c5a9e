"""What a process and all its descendants use: CPU time, and memory as PSS, so that shared pages count once."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """The process and its descendants; none once it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole tree, descendants that have ended and were waited for included."""
    total = 0.0
    for process in tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_bytes(pid: int) -> int:
    total = 0
    for process in tree(pid):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


class Peak:
    """`with Peak(pid) as peak: ...`: the largest memory (`pss`, bytes) and the last known CPU time (`cpu`, seconds)."""

    def __init__(self, pid: int, every_seconds: float = 0.5) -> None:
        self.pss, self.cpu = 0, 0.0
        self._pid, self._every = pid, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.pss = max(self.pss, pss_bytes(self._pid))
            self.cpu = max(self.cpu, cpu_seconds(self._pid))
            self._over.wait(self._every)
