"""A real stack: its servers serve, its secrets stay out of sight, nothing of it is left after a stop."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from local import health
from local.errors import PortTaken
from local.ports import Ports
from local.stack import Stack
from local.tools import Tools

if TYPE_CHECKING:
    from tests.conftest import Sandbox


def test_every_server_of_the_stack_serves(stack: Stack) -> None:
    for name in ("kafka", "minio", "store"):
        part = stack.parts()[name]
        assert part.unhealthy is not None and part.unhealthy() is None


def test_a_value_of_two_mebibytes_with_key_and_headers_is_accepted(sandbox: Sandbox) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": sandbox.settings.kafka_bootstrap, "message.max.bytes": 3_000_000})
    errors: list[object] = []
    for size in (2 * 2**20 - 1, 2 * 2**20):
        producer.produce(
            sandbox.domain.topic,
            os.urandom(size),
            key=b"k" * 1000,
            headers={"h": b"v" * 1000},
            on_delivery=lambda error, _message: errors.append(error),
        )
    assert producer.flush(20) == 0
    assert errors == [None, None]


def test_no_secret_is_in_the_argv_of_any_process(stack: Stack) -> None:
    hidden = [value for name, value in stack.variables().items() if name.endswith(("SECRET", "SECRET_KEY", "PASSWORD"))]
    process = stack.supervisor.process()
    assert process is not None and len(hidden) == 4
    for each in [process, *process.children(recursive=True)]:
        for secret in hidden:
            assert secret not in " ".join(each.cmdline())


def test_files_with_secrets_are_readable_by_their_owner_only(stack: Stack) -> None:
    for name in ("settings.env", "store.conf"):
        assert stat.S_IMODE((stack.home / name).stat().st_mode) == 0o600
    for path in (stack.home / "supervisord.conf", stack.home / "kafka/server.properties"):
        assert not any(v in path.read_text() for k, v in stack.variables().items() if "SECRET" in k)


def test_the_stack_listens_on_the_loopback_address_only(stack: Stack) -> None:
    process = stack.supervisor.process()
    assert process is not None
    listening = [
        connection.laddr.ip
        for each in process.children(recursive=True)
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5
    assert {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}


def test_a_taken_port_is_named_with_its_holder_and_its_setting(tools: Tools, tmp_path: Path) -> None:
    stack = Stack(tmp_path, tools)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = Ports.read(Ports.free().variables() | {"TIDEMARK_PORT_STORE": str(port)})
        stack.configure(ports, segment_seconds=10)
        with pytest.raises(PortTaken, match=rf"{port}.*{os.getpid()}.*TIDEMARK_PORT_STORE"):
            stack.start(["store"])
    assert stack.stop() == []


def test_a_stopped_stack_leaves_no_process_and_starts_again_with_the_same_logins(tools: Tools, tmp_path: Path) -> None:
    stack = Stack(tmp_path, tools, die_with_parent=True)
    stack.configure(Ports.free(), segment_seconds=10)
    logins = stack.variables()
    try:
        stack.up(["store"])
        process = stack.supervisor.process()
        assert process is not None
        family = [process, *process.children(recursive=True)]
        assert stack.stop() == ["store"]
        assert not any(each.is_running() for each in family)
        assert stack.supervisor.process() is None
        stack.configure(Ports.read(logins), segment_seconds=60)
        assert stack.variables() == logins
        stack.up(["store"])
        assert health.store(logins["TIDEMARK_STORE_URL"]) is None
    finally:
        stack.stop()


def test_a_server_that_is_killed_is_started_again(tools: Tools, tmp_path: Path) -> None:
    stack = Stack(tmp_path, tools, die_with_parent=True)
    stack.configure(Ports.free(), segment_seconds=10)
    try:
        stack.up(["store"])
        killed = psutil.Process(stack.supervisor.states()["store"]["pid"])
        killed.kill()
        psutil.wait_procs([killed], timeout=5)
        stack.await_healthy(["store"])
        assert stack.supervisor.states()["store"]["pid"] != killed.pid
    finally:
        stack.stop()
