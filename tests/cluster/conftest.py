"""A release for all cluster tests, installed once; without a KUBECONFIG they skip and say so."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.release import Release, run

NAMESPACE = "tidemark-test"
KEEP = "TIDEMARK_KEEP_RELEASE"
_TOLD: dict[str, Any] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("KUBECONFIG"):
        skip = pytest.mark.skip(reason="no KUBECONFIG names a cluster to install on")
        for item in items:
            if "tests/cluster/" in item.nodeid or "cluster" in item.path.parts:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def told() -> dict[str, Any]:
    """What the run has measured; its last line."""
    return _TOLD


@pytest.fixture(scope="session")
def release(told: dict[str, Any]) -> Iterator[Release]:
    """The small profile, all pods ready, in a namespace that admits restricted pods alone."""
    release = Release("tidemark", NAMESPACE)
    begun = time.monotonic()
    if not run("kubectl", "get", "namespace", NAMESPACE, "--ignore-not-found"):
        run("kubectl", "create", "namespace", NAMESPACE)
    run("kubectl", "label", "--overwrite", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    told["install_seconds"] = round(release.put(), 1)
    told["pods"] = len(release.pods())
    told["faults"] = told["mismatches"] = 0
    yield release
    told["seconds"] = round(time.monotonic() - begun, 1)
    if not os.environ.get(KEEP):
        release.helm("uninstall", release.name, "--wait")
        run("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", seconds=600)


def pytest_unconfigure() -> None:
    if _TOLD:
        print(json.dumps(_TOLD))
