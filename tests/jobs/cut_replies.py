"""A proxy before an S3 server that can lose the reply to a put that the server has carried out."""

from __future__ import annotations

import socket
import threading
from contextlib import AbstractContextManager

from tests.s3_proxy import Proxy, close, in_background, receive, running


class CutReplies(Proxy):
    """Passes everything on; `lose(n)` makes it lose the next n replies to puts and counts them in `lost`."""

    def __init__(self, endpoint: str) -> None:
        self._to_lose = 0
        self.lost = 0
        super().__init__(endpoint)

    def lose(self, replies: int) -> None:
        self._to_lose = replies

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        putting = threading.Event()

        def send() -> None:
            while data := receive(client):
                if data.startswith((b"PUT ", b"GET ", b"HEAD ", b"POST ", b"DELETE ")):
                    (putting.set if data.startswith(b"PUT ") else putting.clear)()
                server.sendall(data)
            close(server)

        in_background(send)
        while data := receive(server):
            if putting.is_set() and self._to_lose and not data.startswith(b"HTTP/1.1 100"):
                self._to_lose -= 1
                self.lost += 1
                break
            client.sendall(data)
        close(client)
        close(server)


def cut_replies(endpoint: str) -> AbstractContextManager[CutReplies]:
    return running(CutReplies(endpoint))
