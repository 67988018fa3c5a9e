"""A release of the chart in a namespace of its own on the cluster of KUBECONFIG, driven by helm and kubectl."""

from __future__ import annotations

import base64
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from local.explain_pods import explain
from local.tools import ROOT, build_one

CHART = ROOT / "helm" / "tidemark"
_PREVIOUS_CHART = Path(__file__).parent / "previous" / "tidemark-0.1.0.tgz"
READY_SECONDS = 1200


def previous_chart(folder: Path) -> Path:
    """The chart of the version before, as it was packaged, laid out in `folder`."""
    with tarfile.open(_PREVIOUS_CHART) as package:
        package.extractall(folder, filter="data")
    return folder / "tidemark"


class ClusterFailed(AssertionError):
    """A command ended with an error; its words."""


def run(*command: str, seconds: float = 120, stdin: str | None = None) -> str:
    """What a command prints. Raises ClusterFailed with what it says."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds, input=stdin)
    if done.returncode:
        raise ClusterFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Release:
    name: str
    namespace: str

    @property
    def objects(self) -> str:
        """What the names of its objects begin with."""
        return self.name if "tidemark" in self.name else f"{self.name}-tidemark"

    def create_namespace(self) -> None:
        """One that admits restricted pods alone."""
        if not run("kubectl", "get", "namespace", self.namespace, "--ignore-not-found"):
            run("kubectl", "create", "namespace", self.namespace)
        label = "pod-security.kubernetes.io/enforce=restricted"
        run("kubectl", "label", "--overwrite", "namespace", self.namespace, label)

    def delete(self) -> None:
        """With its namespace, and so with its volumes and Secrets."""
        self.helm("uninstall", self.name, "--ignore-not-found", "--wait")
        run("kubectl", "delete", "namespace", self.namespace, "--ignore-not-found", "--wait=true", seconds=600)

    def helm(self, *arguments: str, seconds: float = READY_SECONDS + 60) -> str:
        return run(str(build_one("helm") / "helm"), "-n", self.namespace, *arguments, seconds=seconds)

    def kubectl(self, *arguments: str, seconds: float = 120) -> str:
        return run("kubectl", "-n", self.namespace, *arguments, seconds=seconds)

    def lose(self, component: str) -> None:
        """The component's pods end at once, without a word to them."""
        selector = f"app.kubernetes.io/component={component}"
        self.kubectl("delete", "pod", "-l", selector, "--grace-period=0", "--force", seconds=300)

    def put(self, *options: str, chart: Path = CHART, seconds: int = READY_SECONDS) -> float:
        """Install or upgrade the small profile and wait until all is ready: the seconds it took."""
        begun = time.monotonic()
        values = ("-f", str(chart / "values-kind.yaml"))
        wait = ("--wait", "--wait-for-jobs", "--timeout", f"{seconds}s")
        try:
            self.helm("upgrade", "--install", self.name, str(chart), *values, *wait, *options)
        except ClusterFailed as error:
            raise ClusterFailed("\n".join([str(error), *self.why()])) from None
        return time.monotonic() - begun

    def get(self, kind: str, *options: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-o", "json", *options))["items"]

    def pods(self) -> dict[str, dict[str, Any]]:
        """Those of servers, by name: no job's, no test's."""
        found = self.get("pods", "-l", f"app.kubernetes.io/instance={self.name}")
        return {pod["metadata"]["name"]: pod for pod in found if pod["status"]["phase"] not in ("Succeeded", "Failed")}

    def why(self) -> list[str]:
        """What each pod that does not serve waits for."""
        return explain(self.get("pods"), self.get("persistentvolumeclaims"))

    def unready(self) -> list[str]:
        """The pods that do not serve, with what they wait for; those that are being deleted are among them."""
        leaving = [f"{n}: is leaving" for n, pod in self.pods().items() if "deletionTimestamp" in pod["metadata"]]
        return [*leaving, *explain(list(self.pods().values()))]

    def await_ready(self, seconds: float = READY_SECONDS) -> float:
        """Until every pod serves. Raises ClusterFailed with those that do not."""
        begun = time.monotonic()
        while unready := self.unready():
            if time.monotonic() - begun > seconds:
                raise ClusterFailed(f"after {seconds:.0f} s these do not serve: {', '.join(unready)}")
            time.sleep(1)
        return time.monotonic() - begun

    def memory_mib(self) -> int:
        """What its pods hold now, as the kubelets count it: without pages that could be given back."""
        held = 0
        for node in json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]:
            path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
            for pod in json.loads(run("kubectl", "get", "--raw", path))["pods"]:
                if pod["podRef"]["namespace"] == self.namespace:
                    held += sum(c.get("memory", {}).get("workingSetBytes", 0) for c in pod.get("containers", []))
        return held >> 20

    def secrets(self) -> dict[str, dict[str, str]]:
        return {each["metadata"]["name"]: each["data"] for each in self.get("secrets") if each["type"] == "Opaque"}

    def secret(self, name: str) -> dict[str, str]:
        """A Secret's entries, decoded."""
        found = json.loads(self.kubectl("get", "secret", name, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def create_secret(self, name: str, entries: dict[str, str]) -> None:
        """By a manifest on stdin: an argument could be read by whoever lists processes."""
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries}
        run("kubectl", "-n", self.namespace, "create", "-f", "-", stdin=json.dumps(secret))

    def create_claim(self, name: str) -> None:
        """A volume that all pods of one node may write."""
        room = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": room}
        run("kubectl", "-n", self.namespace, "apply", "-f", "-", stdin=json.dumps(claim))

    @contextmanager
    def seen(self, component: str) -> Iterator[set[str]]:
        """The pods of a component that there were meanwhile, also those that are gone: filled at the end."""
        label = f"app.kubernetes.io/component={component}"
        command = ("kubectl", "-n", self.namespace, "get", "pods", "-l", label, "--watch", "--output=name")
        names: set[str] = set()
        with TemporaryFile("w+") as told:
            watch = subprocess.Popen(command, stdout=told)
            try:
                yield names
            finally:
                watch.terminate()
                watch.wait()
                told.seek(0)
                names |= set(told.read().split())

    def metrics(self, component: str, port: int) -> str:
        """What a component's pod tells Prometheus."""
        [name] = [n for n in self.pods() if n.startswith(f"{self.objects}-{component}-")]
        return run("kubectl", "get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{name}:{port}/proxy/metrics")

    def tidemark(self, *arguments: str, seconds: float = 600) -> dict[str, Any]:
        """What the command line says in JSON, asked in the console."""
        console = (f"deployment/{self.objects}-console", "-c", "console")
        command = ("kubectl", "-n", self.namespace, "exec", *console, "--", "tidemark", *arguments, "--json")
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
        if "{" not in done.stdout:
            raise ClusterFailed(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr}")
        return json.loads(done.stdout[done.stdout.index("{") :])

    def verify(self) -> dict[str, Any]:
        """What `tidemark verify` finds: ok, raw's records by domain; in sums rows compared, mismatches, problems."""
        found = self.tidemark("verify", "--no-keep")
        views = [view for each in found["domains"] for view in each["views"]]
        return {
            "ok": found["ok"],
            "raw_records": {each["domain"]: each["raw_records"] for each in found["domains"]},
            "rows_compared": sum(view["rows_compared"] for view in views),
            "mismatches": sum(view["mismatches"] for view in views),
            "problems": [problem for each in found["domains"] for problem in each["problems"]],
        }

    def prove(self) -> dict[str, Any]:
        """`helm test`: the document that its pod ends with."""
        try:
            self.helm("test", self.name, "--timeout", f"{READY_SECONDS}s")
        except ClusterFailed as error:
            said = self.kubectl("logs", f"{self.objects}-test", "--tail=30")
            raise ClusterFailed("\n".join([str(error), said, *self.why()])) from None
        said = self.kubectl("logs", f"{self.objects}-test")
        return json.loads(said.strip().splitlines()[-1])
