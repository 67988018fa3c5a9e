"""A store that is slow makes the speed job slow, and does not stop it."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

from pydantic import SecretStr

from lake.log import Log
from streaming.runners import BUNDLE_SECONDS
from tests.conftest import Sandbox
from tests.s3_proxy import Proxy, close, in_background, pass_on, receive, running
from tests.streaming.kept import heads


class SlowStore(Proxy):
    """Every answer comes `seconds` late."""

    def __init__(self, endpoint: str, seconds: float) -> None:
        self._seconds = seconds
        super().__init__(endpoint)

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        in_background(pass_on, client, server)
        with suppress(OSError):
            while data := receive(server):
                time.sleep(self._seconds)
                client.sendall(data)
        close(client)


def test_a_job_that_needs_longer_to_open_than_a_bundle_takes_gets_on(own_store, send, speed_store, until, workers):
    sandbox, run_store = own_store
    send(sandbox, 3_000)
    store, end = speed_store(sandbox), Log(sandbox.settings, sandbox.domain).end()
    url = sandbox.settings.store_url.get_secret_value()
    with run_store(), running(SlowStore(url, BUNDLE_SECONDS["prism"] / 2)) as proxy:
        through = sandbox.settings.model_copy(update={"store_url": SecretStr(f"redis://{proxy.address}/0")})
        workers.start("streaming.speed", Sandbox(through, sandbox.domain))
        until(lambda: heads(store) == end)
