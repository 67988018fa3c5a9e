"""The jobs of a Flink cluster, asked and ended through its REST interface.

Invariant: of jobs with one name, which are one speed job's, at most one goes on: a speed job that was killed leaves its
Flink job behind, and its successor ends that first.
"""

from __future__ import annotations

import httpx
import structlog

from lake.errors import BadSettings
from lake.waiting import wait_until

log = structlog.get_logger()

_END_SECONDS = 30
_ENDED = ("FINISHED", "CANCELED", "FAILED")


class FlinkCluster:
    """A cluster by the host:port of its REST interface."""

    def __init__(self, master: str) -> None:
        self._master = master
        self._client = httpx.Client(base_url=f"http://{master}", timeout=10)

    def running(self, name: str) -> list[str]:
        """The ids of the jobs of that name that have not ended. Raises BadSettings where no cluster answers."""
        try:
            jobs = self._client.get("/jobs/overview").raise_for_status().json()["jobs"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise BadSettings(
                f"TIDEMARK_FLINK_MASTER={self._master}: expected the host:port of a Flink cluster's REST interface, or "
                f"[local] ({type(error).__name__}: {error})"
            ) from error
        return [job["jid"] for job in jobs if job["name"] == name and job["state"] not in _ENDED]

    def end(self, name: str) -> None:
        """Cancel every job of that name and wait until none of them runs. Raises BadSettings."""
        for job in self.running(name):
            log.info("ending a job of the cluster", job=job, name=name)
            self._client.patch(f"/jobs/{job}", params={"mode": "cancel"})

        def too_late() -> BadSettings:
            return BadSettings(f"TIDEMARK_FLINK_MASTER={self._master}: job '{name}' does not end when it is cancelled")

        wait_until(lambda: not self.running(name) or None, _END_SECONDS, 0.2, too_late)
