"""A proxy before an S3 server that holds a process at the moment of its commit: the put of a version of a Delta log."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import AbstractContextManager, suppress

from tests.s3_proxy import Proxy, close, in_background, pass_on, receive, running

_COMMIT = re.compile(rb"PUT /\S*/_delta_log/\d{20}\.json[ ?]")


class Gate(Proxy):
    """Passes everything on, but no commit until it is opened. `reached`: a commit has come, and waits."""

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

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        in_background(pass_on, server, client)
        with suppress(OSError):
            while data := receive(client):
                if _COMMIT.match(data):
                    self.reached.set()
                    self._opened.wait()
                    if self._closed:
                        break
                server.sendall(data)
        close(server)


def gate(endpoint: str) -> AbstractContextManager[Gate]:
    return running(Gate(endpoint))
