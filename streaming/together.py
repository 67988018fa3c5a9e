"""Several pieces of work in one process, a thread each, that live and die together.

Invariant: none goes on for long after another has failed, and its error is the process's: a supervisor sees it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import structlog

log = structlog.get_logger()


def run_together(work: Mapping[str, Callable[[], None]], stop: threading.Event) -> None:
    """Run all of it, by name, until each has ended, which it does soon once `stop` is set. Raises the first error."""
    with ThreadPoolExecutor(max(1, len(work))) as pool:
        running = {pool.submit(each): name for name, each in work.items()}
        try:
            ended, others = wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        failed = [(running[each], error) for each in ended if (error := each.exception())]
        if failed and others:
            log.error("one has failed, the others stop", failed=[name for name, _ in failed])
        wait(others)
    for _, error in failed:
        raise error


def stop_on_signals() -> threading.Event:
    """Set once SIGTERM or SIGINT comes. For `main` functions only."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
