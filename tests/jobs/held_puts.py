"""A proxy before an S3 server that holds back one kind of put for ever: where a process is to be killed, it stands."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit


class HeldPuts:
    """Passes everything on but puts to a path with `part` in it, from the one after `passed` of them on, when `held` is
    set."""

    def __init__(self, endpoint: str, part: str, passed: int = 0) -> None:
        self._upstream = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._part, self._passed = part, passed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.held = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._upstream)

        def answer() -> None:
            while data := _receive(server):
                with suppress(OSError):
                    client.sendall(data)
            _close(client)

        threading.Thread(target=answer, daemon=True).start()
        while data := _receive(client):
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            if line.startswith("PUT ") and self._part in unquote(line):
                self._passed -= 1
                if self._passed < 0:
                    self.held.set()
                    break
            server.sendall(data)
        if self.held.is_set():
            while _receive(client):  # until its process is gone
                pass
        _close(server)


@contextmanager
def held_puts(endpoint: str, part: str, passed: int = 0) -> Iterator[HeldPuts]:
    proxy = HeldPuts(endpoint, part, passed)
    try:
        yield proxy
    finally:
        proxy.close()


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
