"""A store of a test's own, which it may fill, stop and lose."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

_SECONDS = 60


@contextmanager
def store_server(program: Path, port: int, *options: str) -> Iterator[redis.Redis]:
    """A client of an empty server, which is killed at the end; `options` are the server's."""
    command = [str(program), "--bind", "127.0.0.1", "--port", str(port), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            _wait(client)
            yield client
    finally:
        process.kill()
        process.wait()


def used_bytes(client: redis.Redis) -> int:
    """What `maxmemory` is compared with."""
    return client.info("memory")["used_memory"]


def _wait(client: redis.Redis) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        with suppress(redis.ConnectionError):
            if client.ping():
                return
        time.sleep(0.02)
    raise AssertionError(f"no store within {_SECONDS} s")
