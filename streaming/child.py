"""A server as a child of this process, up before it is used.

Invariant: it cannot outlive the process that started it, however that ends: the kernel kills it then.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial

from lake.errors import TidemarkError
from lake.parent import end_with

_START_SECONDS = 60


@contextmanager
def child(
    name: str, command: Sequence[str], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """The running child, once it listens on `port` of the loopback address. Raises TidemarkError if it does not.

    Call from the main thread: the child dies with the thread that started it.
    """
    follow = partial(end_with, os.getpid())
    process = subprocess.Popen(command, env=environment, preexec_fn=follow, start_new_session=True)
    try:
        _await_port(name, process, port)
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_port(name: str, process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TidemarkError(
        f"{name} did not open port {port} within {_START_SECONDS} s (exit code {process.returncode}); see its log above"
    )
