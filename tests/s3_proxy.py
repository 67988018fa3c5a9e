"""A proxy before a server, for tests that come between a process and its lake or its store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit


class Proxy:
    """Accepts connections at `endpoint`, and serves each in a thread. What passes, a kind of proxy says in `serve`."""

    def __init__(self, endpoint: str) -> None:
        self._upstream = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.endpoint = f"http://{self.address}"
        in_background(self._accept)

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        """One connection, until it ends; closes both sides."""
        raise NotImplementedError

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:  # the server is away, and so are we
                close(client)
                continue
            in_background(self.serve, client, server)


_Kind = TypeVar("_Kind", bound=Proxy)


@contextmanager
def running(proxy: _Kind) -> Iterator[_Kind]:
    try:
        yield proxy
    finally:
        proxy.close()


def in_background(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """All that comes from one side to the other, which is closed then."""
    while data := receive(source):
        with suppress(OSError):
            sink.sendall(data)
    close(sink)


def receive(connection: socket.socket) -> bytes:
    """What has come; nothing where the connection has ended or broken."""
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
