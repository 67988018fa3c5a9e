"""`python -m local.explain_pods NAMESPACE`: why pods of a namespace do not serve, and what to do, a line each.

For when `helm install --wait` ends with no more than "context deadline exceeded". It asks by kubectl, changes nothing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from lake.errors import TidemarkError, exit_on_error

_PULLING = "the node cannot fetch the image: build and push it (`make images`), or set images.registry, tag and login"
_FIXES = {
    "ImagePullBackOff": _PULLING,
    "ErrImagePull": _PULLING,
    "InvalidImageName": "correct images.* in the values",
    "ErrImageNeverPull": "load the image into the node, or set images.pullPolicy=IfNotPresent",
    "CreateContainerConfigError": "make the Secret or ConfigMap, or the key in it, that is missing",
    "CrashLoopBackOff": "read `kubectl logs --previous` of it",
    "Unschedulable": "give the cluster what is missing, or lower *.resources.requests in the values",
    "OOMKilled": "raise its memory limit in the values",
}


_CLASS = "name a class that the cluster has: *.storage.className"


def explain(pods: list[dict[str, Any]], claims: list[dict[str, Any]] | None = None) -> list[str]:
    """A sentence for each pod that neither serves nor has ended well, and for each claim that has no volume."""
    return [*(told for pod in pods for told in _pod(pod)), *(told for claim in claims or [] for told in _claim(claim))]


def _pod(pod: dict[str, Any]) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod["status"]
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if status["phase"] == "Succeeded" or conditions.get("Ready", {}).get("status") == "True":
        return
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        yield _line(name, scheduled.get("reason", ""), scheduled.get("message", ""))
        return
    reasons = list(_containers(status))
    for container, reason, message in reasons:
        yield _line(f"{name}, container {container}", reason, message)
    if not reasons:
        yield f"{name}: {status['phase']}, not ready yet; `kubectl describe pod {name}` has its probes' answers"


def _containers(status: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = each["state"].get("waiting", {})
        ended = each["state"].get("terminated") or each.get("lastState", {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            yield each["name"], "OOMKilled", ""
        elif waiting.get("reason") in _FIXES:
            yield each["name"], waiting["reason"], waiting.get("message", "")
        elif ended.get("exitCode"):
            yield each["name"], f"ended with {ended['exitCode']}", ended.get("message", "")


def _claim(claim: dict[str, Any]) -> Iterator[str]:
    if claim["status"]["phase"] == "Pending":
        name = claim["spec"].get("storageClassName") or "the default class"
        yield f"claim {claim['metadata']['name']}: no volume of {name}; {_CLASS}"


def _line(what: str, reason: str, message: str) -> str:
    said = f"{reason}: {message.strip()}" if message else reason
    return f"{what}: {said}; {_FIXES.get(reason, 'read `kubectl logs` of it')}"


def _items(namespace: str, kind: str) -> list[dict[str, Any]]:
    command = ["kubectl", "--namespace", namespace, "get", kind, "--output", "json"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TidemarkError(f"`{' '.join(command)}`: {error}") from None
    if done.returncode:
        raise TidemarkError(f"`{' '.join(command)}`: {done.stderr.strip()}")
    return json.loads(done.stdout)["items"]


def main(namespace: Annotated[str, typer.Argument(help="Where the release is.")]) -> None:
    """Say why pods do not serve, and what to do."""
    with exit_on_error():
        told = explain(_items(namespace, "pods"), _items(namespace, "persistentvolumeclaims"))
    print("\n".join(told) or f"every pod in {namespace} serves, or has ended well")


if __name__ == "__main__":
    typer.run(main)
