"""Named points at which a process is killed: it stands there, held by a proxy before the server that it talks to.

Before a point, what it sends does not arrive; after one, the server has done it and the answer does not come back.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

from lake.store import _PUT
from tests.faults.gate import COMMIT
from tests.s3_proxy import Proxy, close, in_background, receive


@dataclass(frozen=True)
class Point:
    """A moment in what a process sends: of the first packet that `sent` is found in, before it or after its answer."""

    name: str
    sent: re.Pattern[bytes]
    answered: bool = False


_DATA_FILE = re.compile(rb"PUT /\S*/raw/\S*(?<!checkpoint)\.parquet[ ?]")
_STATES = re.compile(hashlib.sha1(_PUT.encode()).hexdigest().encode())

LANDING = [
    Point("read, no file yet", _DATA_FILE),
    Point("file written, not committed", COMMIT),
    Point("committed, not told so", COMMIT, answered=True),
]
STORING = [
    Point("computed, not stored", _STATES),
    Point("stored, not told so", _STATES, answered=True),
]


class CrashGate(Proxy):
    """Passes everything on, until it is armed and a connection comes to the point."""

    def __init__(self, endpoint: str) -> None:
        self._point: Point | None = None
        self._reached, self._released = threading.Event(), threading.Event()
        super().__init__(endpoint)

    def hold_at(self, point: Point, seconds: float) -> None:
        """Return when a connection stands at the point. What stands there never goes on, not even when released."""
        self._reached.clear()
        self._released.clear()
        self._point = point
        if not self._reached.wait(seconds):
            raise AssertionError(f"nothing came to the point '{point.name}' within {seconds:.0f} s")

    def release(self) -> None:
        """Let new connections pass; those that stood are closed."""
        self._point = None
        self._released.set()

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        silenced = threading.Event()
        in_background(self._answers, server, client, silenced)
        with suppress(OSError):
            while data := receive(client):
                if (point := self._point) and point.sent.search(data):
                    if not point.answered:
                        self._stand()
                        break
                    silenced.set()
                server.sendall(data)
        close(server)

    def _answers(self, server: socket.socket, client: socket.socket, silenced: threading.Event) -> None:
        with suppress(OSError):
            while data := receive(server):
                if silenced.is_set():
                    self._stand()
                    break
                client.sendall(data)
        close(client)

    def _stand(self) -> None:
        self._reached.set()
        self._released.wait()
