"""The ports of a stack, all on 127.0.0.1; each can be set by TIDEMARK_PORT_<NAME>.

A port is checked before the part that wants it is started, so that a clash is a sentence that names
the setting and not a crash in some server's log.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields

import psutil

from lake.errors import BadSettings
from local.errors import PortTaken

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    kafka: int = 19092
    kafka_controller: int = 19093
    minio: int = 19000
    minio_console: int = 19001
    store: int = 16379
    airflow: int = 18080
    dashboard: int = 18501
    lander_metrics: int = 19101
    speed_metrics: int = 19102
    dashboard_metrics: int = 19103
    canary_metrics: int = 19104
    router_metrics: int = 19105

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Ports:
        """The ports that the variables name, the default for the others. Raises BadSettings."""
        chosen = {}
        for name, default in asdict(cls()).items():
            value = environment.get(variable(name), str(default))
            if not value.isdecimal() or not 0 < int(value) < 65536:
                raise BadSettings(f"{variable(name)}={value!r}: a port is a number from 1 to 65535")
            chosen[name] = int(value)
        return cls(**chosen)

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on at this moment."""
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in fields(cls)]
            for each in sockets:
                each.bind((HOST, 0))
            return cls(*(each.getsockname()[1] for each in sockets))

    def variables(self) -> dict[str, str]:
        return {variable(name): str(port) for name, port in asdict(self).items()}


def variable(name: str) -> str:
    return f"TIDEMARK_PORT_{name.upper()}"


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False


def require_free(part: str, name: str, port: int) -> None:
    """Raise PortTaken if something listens on the port that `part` wants."""
    if is_taken(port):
        raise PortTaken(
            f"port {port}, which {part} wants, is taken by {_holder(port)}: stop that, or choose "
            f"another port: {variable(name)}=<port>"
        )


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass  # another user's process: its name is not ours to see
    return "another program (`ss -ltnp` shows it)"
