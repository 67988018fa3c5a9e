"""A proxy before an S3 server that holds back one kind of put for ever: where a process is to be killed, it stands."""

from __future__ import annotations

import socket
import threading
from contextlib import AbstractContextManager
from urllib.parse import unquote

from tests.s3_proxy import Proxy, close, in_background, pass_on, receive, running


class HeldPuts(Proxy):
    """Passes everything on but puts to a path with `part` in it, from the one after `passed` of them on, when `held` is
    set."""

    def __init__(self, endpoint: str, part: str, passed: int = 0) -> None:
        self._part, self._passed = part, passed
        self.held = threading.Event()
        super().__init__(endpoint)

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        in_background(pass_on, server, client)
        while data := receive(client):
            line = data.split(b"\r\n", 1)[0].decode("latin-1")
            if line.startswith("PUT ") and self._part in unquote(line):
                self._passed -= 1
                if self._passed < 0:
                    self.held.set()
                    break
            server.sendall(data)
        if self.held.is_set():
            while receive(client):  # until its process is gone
                pass
        close(server)


def held_puts(endpoint: str, part: str, passed: int = 0) -> AbstractContextManager[HeldPuts]:
    return running(HeldPuts(endpoint, part, passed))
