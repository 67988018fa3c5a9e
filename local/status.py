"""What runs now: each part's state, memory, address and login.

The memory of the whole is that of supervisord's whole process tree, so what a dead part left behind
counts, too. Each process is measured once, so the parts are never more than the whole.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil
from rich.console import Group
from rich.table import Table

from local.airflow import BUILD, Airflow
from local.memory import family, pss_bytes
from local.parts import AIRFLOW_USER
from local.stack import Stack

_REPLY_SECONDS = 3.0


@dataclass(frozen=True)
class PartStatus:
    name: str
    state: str
    pid: int | None
    processes: int
    pss_bytes: int
    address: str | None
    user: str | None
    password: str | None
    metrics: str | None = None


@dataclass(frozen=True)
class Status:
    home: str
    running: bool
    pss_bytes: int
    parts: list[PartStatus]
    paused: dict[str, bool] | None = None
    """Each DAG that Airflow has read, and whether it is paused; None where Airflow does not run or answer."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(stack: Stack) -> Status:
    """The stack as it is at this moment; parts that were never started are STOPPED."""
    supervisor = stack.supervisor.process()
    memory = {process.pid: pss_bytes(process) for process in family(supervisor)} if supervisor else {}
    states = stack.supervisor.states()
    variables = stack.variables()
    logins = {
        "minio": (variables.get("TIDEMARK_S3_ACCESS_KEY"), variables.get("TIDEMARK_S3_SECRET_KEY")),
        "store": (None, variables.get("TIDEMARK_STORE_PASSWORD")),
        "airflow": (AIRFLOW_USER, variables.get("TIDEMARK_AIRFLOW_PASSWORD")),
    }
    parts = []
    for part in stack.parts().values() if variables else ():
        info = states.get(part.name, {})
        pid = info.get("pid") or None
        processes = family(psutil.Process(pid)) if pid and psutil.pid_exists(pid) else []
        parts.append(
            PartStatus(
                part.name,
                info.get("statename", "STOPPED"),
                pid,
                len(processes),
                sum(memory.get(process.pid, 0) for process in processes),
                part.address,
                *logins.get(part.name, (None, None)),
                part.metrics,
            )
        )
    return Status(str(stack.home), supervisor is not None, sum(memory.values()), parts, _paused(parts))


def _paused(parts: list[PartStatus]) -> dict[str, bool] | None:
    for part in parts:
        if part.name == "airflow" and part.state == "RUNNING" and part.address and part.user and part.password:
            try:
                return Airflow(part.address, part.user, part.password, _REPLY_SECONDS).paused()
            except (httpx.HTTPError, ValueError):
                return None
    return None


def render(status: Status) -> Group:
    """The status as a person reads it."""
    if not status.running:
        return Group("The stack is down: `make demo` starts it.")
    parts = Table("part", "state", "pid", "processes", "PSS MiB", box=None)
    for part in status.parts:
        row = (part.pid, part.processes, part.pss_bytes >> 20) if part.pid else ("", "", "")
        parts.add_row(part.name, part.state, *map(str, row))
    addresses = []
    for part in status.parts:
        if part.pid and part.address:
            login = " / ".join(filter(None, (part.user, part.password)))
            addresses.append(f"{part.name:<10} {part.address}   {login}".rstrip())
    addresses += [f"{part.name:<10} {part.metrics}" for part in status.parts if part.pid and part.metrics]
    total = f"{status.pss_bytes / 2**30:.2f} GiB (PSS) in all; state and logs in {status.home}"
    return Group(parts, "", total, "", *addresses, *_hints(status))


def _hints(status: Status) -> list[str]:
    """What does not run by itself although its part is up."""
    if status.paused is None:
        return []
    if BUILD not in status.paused:
        said = f"Airflow is still reading its DAGs. Each begins paused: switch on {BUILD} there, or no slice is built."
        return ["", said]
    paused = sorted(dag for dag, is_paused in status.paused.items() if is_paused)
    if not paused:
        return []
    said = f"Paused in Airflow, so they do not run: {', '.join(paused)}. The switch is on each DAG's page."
    without = f"While {BUILD} is paused, no slice is built, and what is new comes from the speed layer alone."
    return ["", said, *([without] if BUILD in paused else [])]
