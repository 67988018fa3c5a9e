"""A proxy before an S3 server that holds a process at the moment of its commit: the put of a version of a Delta log."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_COMMIT = re.compile(rb"PUT /\S*/_delta_log/\d{20}\.json[ ?]")


class Gate:
    """Passes everything on, but no commit until it is opened. `reached`: a commit has come, and waits."""

    def __init__(self, endpoint: str) -> None:
        self._upstream = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.reached, self._opened, self._closed = threading.Event(), threading.Event(), False
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """Let commits pass, those that wait as well."""
        self._opened.set()

    def close(self) -> None:
        """What still waits never arrives."""
        self._closed = True
        self._opened.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if _COMMIT.match(data):
                    self.reached.set()
                    self._opened.wait()
                    if self._closed:
                        break
                server.sendall(data)
        _close(server)


@contextmanager
def gate(endpoint: str) -> Iterator[Gate]:
    made = Gate(endpoint)
    try:
        yield made
    finally:
        made.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _close(sink)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
