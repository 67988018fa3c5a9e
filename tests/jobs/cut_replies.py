"""A proxy before an S3 server that can lose the reply to a put that the server has carried out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class CutReplies:
    """Passes everything on; `lose(n)` makes it lose the next n replies to puts and counts them in `lost`."""

    def __init__(self, endpoint: str) -> None:
        self._upstream = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._to_lose = 0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, replies: int) -> None:
        self._to_lose = replies

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
        putting = threading.Event()

        def send() -> None:
            while data := _receive(client):
                if data.startswith((b"PUT ", b"GET ", b"HEAD ", b"POST ", b"DELETE ")):
                    (putting.set if data.startswith(b"PUT ") else putting.clear)()
                server.sendall(data)
            _close(server)

        threading.Thread(target=send, daemon=True).start()
        while data := _receive(server):
            if putting.is_set() and self._to_lose and not data.startswith(b"HTTP/1.1 100"):
                self._to_lose -= 1
                self.lost += 1
                break
            client.sendall(data)
        _close(client)
        _close(server)


@contextmanager
def cut_replies(endpoint: str) -> Iterator[CutReplies]:
    proxy = CutReplies(endpoint)
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
