"""Beam's Prism runner as a child of the driver that cannot outlive it.

Invariant: the binary is the one that set-up has built; there is no search, no download and no other runner instead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lake.errors import BadSettings, TidemarkError

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 30
_libc = ctypes.CDLL(None)


@contextmanager
def prism(binary: Path | None) -> Iterator[str]:
    """A running Prism: the address of its job service. Call from the main thread: Prism dies with the caller's."""
    if binary is None or not os.access(binary, os.X_OK):
        raise BadSettings(
            f"TIDEMARK_PRISM_BINARY={binary}: expected the Prism runner, an executable file; `make setup` builds it"
        )
    port = _free_port()
    command = [str(binary), "--job_port", str(port), "--serve_http=false", "--log_level=warn"]
    process = subprocess.Popen(command, preexec_fn=_die_with_parent, start_new_session=True)
    try:
        _await_port(process, port)
        yield f"localhost:{port}"
    finally:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_port(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TidemarkError(
        f"Prism did not open port {port} within {_START_SECONDS} s (exit code {process.returncode}); see its log above"
    )
