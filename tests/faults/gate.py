"""A proxy before an S3 server that holds a process in its work: a driver at its commit, a worker as it reads raw."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import AbstractContextManager, suppress

import psutil

from tests.s3_proxy import Proxy, close, in_background, pass_on, receive, running

COMMIT = re.compile(rb"PUT /\S*/_delta_log/\d{20}\.json[ ?]")
_RAW = re.compile(rb"GET /\S*/raw/\S*\.parquet[ ?]")


class Gate(Proxy):
    """Passes everything on, but nothing that it holds until it is opened. `reached`: something has come, and waits.

    It holds commits: puts of a version of a Delta log.
    """

    def __init__(self, endpoint: str) -> None:
        self.reached, self._opened, self._closed = threading.Event(), threading.Event(), False
        super().__init__(endpoint)

    def open(self) -> None:
        """Let commits pass, those that wait as well."""
        self._opened.set()

    def close(self) -> None:
        """What still waits never arrives."""
        self._closed = True
        self._opened.set()
        super().close()

    def holds(self, client: socket.socket, data: bytes) -> bool:
        return bool(COMMIT.match(data))

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        in_background(pass_on, server, client)
        with suppress(OSError):
            while data := receive(client):
                if self.holds(client, data):
                    self.reached.set()
                    self._opened.wait()
                    if self._closed:
                        break
                server.sendall(data)
        close(server)


class WorkerGate(Gate):
    """Holds what Spark's Python workers read of raw; `workers` are their processes' ids."""

    def __init__(self, endpoint: str) -> None:
        self.workers: set[int] = set()
        super().__init__(endpoint)

    def holds(self, client: socket.socket, data: bytes) -> bool:
        worker = _worker_at(client) if _RAW.match(data) else None
        if worker is not None:
            self.workers.add(worker)
        return worker is not None


def _worker_at(client: socket.socket) -> int | None:
    """The Python worker of Spark at the other end of a connection; None if something else is."""
    port = client.getpeername()[1]
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.pid not in (None, os.getpid()):
            return connection.pid if "pyspark.daemon" in psutil.Process(connection.pid).cmdline() else None
    return None


def gate(endpoint: str) -> AbstractContextManager[Gate]:
    return running(Gate(endpoint))


def worker_gate(endpoint: str) -> AbstractContextManager[WorkerGate]:
    return running(WorkerGate(endpoint))
