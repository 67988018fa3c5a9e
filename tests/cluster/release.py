"""A release of the chart in a namespace of its own on the cluster of KUBECONFIG, driven by helm and kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from local.tools import ROOT, build_one

CHART = ROOT / "helm" / "tidemark"
READY_SECONDS = 1500


class ClusterFailed(AssertionError):
    """A command ended with an error; its words."""


def run(*command: str, seconds: float = 120) -> str:
    """What a command prints. Raises ClusterFailed with what it says."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise ClusterFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Release:
    name: str
    namespace: str

    def helm(self, *arguments: str, seconds: float = READY_SECONDS + 60) -> str:
        return run(str(build_one("helm") / "helm"), "-n", self.namespace, *arguments, seconds=seconds)

    def kubectl(self, *arguments: str, seconds: float = 120) -> str:
        return run("kubectl", "-n", self.namespace, *arguments, seconds=seconds)

    def put(self, *options: str) -> float:
        """Install or upgrade the small profile and wait until all is ready: the seconds it took."""
        begun = time.monotonic()
        values = ("-f", str(CHART / "values-kind.yaml"))
        wait = ("--wait", "--wait-for-jobs", "--timeout", f"{READY_SECONDS}s")
        self.helm("upgrade", "--install", self.name, str(CHART), *values, *wait, *options)
        return time.monotonic() - begun

    def get(self, kind: str, *options: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-o", "json", *options))["items"]

    def pods(self) -> dict[str, dict[str, Any]]:
        """Those of servers, by name: no job's, no test's."""
        found = self.get("pods", "-l", f"app.kubernetes.io/instance={self.name}")
        return {pod["metadata"]["name"]: pod for pod in found if pod["status"]["phase"] not in ("Succeeded", "Failed")}

    def unready(self) -> list[str]:
        """The pods that do not serve, with what they wait for."""
        return [
            f"{name}: {pod['status']['phase']}"
            for name, pod in self.pods().items()
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        ]

    def await_ready(self, seconds: float = READY_SECONDS) -> float:
        """Until every pod serves. Raises ClusterFailed with those that do not."""
        begun = time.monotonic()
        while unready := self.unready():
            if time.monotonic() - begun > seconds:
                raise ClusterFailed(f"after {seconds:.0f} s these do not serve: {', '.join(unready)}")
            time.sleep(2)
        return time.monotonic() - begun

    def secrets(self) -> dict[str, dict[str, str]]:
        return {each["metadata"]["name"]: each["data"] for each in self.get("secrets") if each["type"] == "Opaque"}

    def tidemark(self, *arguments: str, seconds: float = 600) -> dict[str, Any]:
        """What the command line says in JSON, asked in the console."""
        said = self.kubectl(
            "exec",
            f"deployment/{self.name}-console",
            "-c",
            "console",
            "--",
            "tidemark",
            *arguments,
            "--json",
            seconds=seconds,
        )
        return json.loads(said[said.index("{") :])

    def prove(self) -> dict[str, Any]:
        """`helm test`: the document that its pod ends with."""
        self.helm("test", self.name, "--timeout", f"{READY_SECONDS}s")
        said = self.kubectl("logs", f"{self.name}-test")
        return json.loads(said.strip().splitlines()[-1])
