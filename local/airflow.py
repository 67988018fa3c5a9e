"""Airflow's REST API, as much of it as demo and status need: trigger a DAG run, follow it, explain a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from local.errors import DemoFailed

BUILD = "build_marts"


@dataclass(frozen=True)
class Task:
    name: str
    state: str
    tries: int
    index: int
    """Which of the tasks of this name, one a domain; -1 where there is but one, or it is not known yet."""
    label: str


class Airflow:
    def __init__(self, address: str, user: str, password: str, reply_seconds: float = 30) -> None:
        self.address = address
        self._login = {"username": user, "password": password}
        self._client = httpx.Client(base_url=address, timeout=reply_seconds)

    def paused(self) -> dict[str, bool]:
        """Every DAG that Airflow has read so far, and whether it is paused. Raises httpx.HTTPError."""
        self._authenticate()
        found = self._call("GET", "/dags", params={"limit": 100})["dags"]
        return {dag["dag_id"]: dag["is_paused"] for dag in found}

    def unpause(self, dag: str, wait_seconds: float) -> None:
        """Let the DAG run; waits until the DAG processor has found it. Raises DemoFailed."""
        self._authenticate()
        attempts = Retrying(
            stop=stop_after_delay(wait_seconds),
            wait=wait_fixed(1),
            retry=retry_if_exception_type(httpx.HTTPStatusError),
        )
        try:
            attempts(self._call, "PATCH", f"/dags/{dag}", json={"is_paused": False})
        except RetryError:
            errors = self._call("GET", "/importErrors").get("import_errors", [])
            reason = errors[0]["stack_trace"] if errors else "no file in dags/ declares it"
            raise DemoFailed(f"Airflow knows no DAG {dag} after {wait_seconds:.0f} s: {reason}") from None

    def pause(self, dag: str) -> None:
        """Let no further run begin."""
        self._call("PATCH", f"/dags/{dag}", json={"is_paused": True})

    def trigger(self, dag: str, conf: dict[str, str]) -> str:
        """Start a run; its id."""
        self._authenticate()
        body = {"logical_date": None, "conf": conf}
        return str(self._call("POST", f"/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def state(self, dag: str, run: str) -> str:
        """queued, running, success or failed."""
        return str(self._call("GET", f"/dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> list[Task]:
        found = self._call("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return [
            Task(
                task["task_id"],
                task["state"] or "waiting",
                task["try_number"],
                task["map_index"],
                " ".join(filter(None, (task["task_id"], task["rendered_map_index"]))),
            )
            for task in found
        ]

    def log_tail(self, dag: str, run: str, task: Task, lines: int = 25) -> str:
        """The last lines of a task's last try."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task.name}/logs/{max(task.tries, 1)}"
        events = self._call("GET", path, params={"full_content": True, "map_index": task.index}).get("content", [])
        text = [event.get("event", "") if isinstance(event, dict) else str(event) for event in events]
        return "\n".join(text[-lines:])

    def _authenticate(self) -> None:
        reply = self._client.post("/auth/token", json=self._login)
        reply.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        reply = self._client.request(method, f"/api/v2{path}", **options)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found
