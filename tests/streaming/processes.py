"""Processes of ours with all that they have started: whether they have ended; and a freeze they know nothing of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Jobs, with all of their runners' processes, that do nothing for a while and know nothing of it."""
    processes = [process for pid in pids for process in (psutil.Process(pid), *family(pid))]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
