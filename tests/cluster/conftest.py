"""A release for all cluster tests: the chart of the version before, upgraded. Without a KUBECONFIG they skip."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.release import Release, previous_chart

NAMESPACE = "tidemark-test"
KEEP = "KEEP_RELEASE"
"""Set, it leaves the releases where they are, to be looked at."""
_TOLD: dict[str, Any] = {"pods": 0, "seconds": {}, "memory_mib": {}, "faults": 0, "mismatches": 0, "verifications": 0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("KUBECONFIG"):
        skip = pytest.mark.skip(reason="no KUBECONFIG names a cluster to install on")
        for item in items:
            if "cluster" in item.path.parts:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def told() -> dict[str, Any]:
    """What the run has measured; its last line."""
    return _TOLD


@pytest.fixture(scope="session")
def installed(told: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The small profile by the chart of the version before, which has taken in events."""
    release = Release("tidemark", NAMESPACE)
    release.delete()  # what an earlier run may have left
    release.create_namespace()
    # The images of that version may be gone; its chart runs today's.
    chart = previous_chart(tmp_path_factory.mktemp("previous"))
    told["seconds"]["install_previous"] = round(release.put(chart=chart), 1)
    yield release
    if not os.environ.get(KEEP):
        release.delete()


@pytest.fixture(scope="session")
def before(installed: Release) -> dict[str, Any]:
    """What was there before the upgrade: Secrets, and what a verification found."""
    return {"secrets": installed.secrets(), "verified": installed.verify()}


@pytest.fixture(scope="session")
def release(installed: Release, before: dict[str, Any], told: dict[str, Any]) -> Release:
    """The same, upgraded to this chart, all pods ready, in a namespace that admits restricted pods alone."""
    told["seconds"]["upgrade"] = round(installed.put(), 1)
    told["pods"] = len(installed.pods())
    told["memory_mib"]["small_profile"] = installed.memory_mib()
    return installed


@pytest.fixture
def verified(release: Release, told: dict[str, Any]) -> Any:
    """verified(): the numbers of the release are right now, and events still arrive; what was found."""
    return lambda: check(release, told)


_SEEN: dict[str, dict[str, int]] = {}
"""How many records the last verification of a release found in raw, by domain."""


def check(release: Release, told: dict[str, Any]) -> dict[str, Any]:
    """Every number is that of a recompute from raw, and raw has grown since the last look. Raises AssertionError."""
    found = release.verify()
    told["verifications"] += 1
    told["mismatches"] += found["mismatches"]
    assert found["ok"], found
    assert found["rows_compared"] > 0
    seen = _SEEN.setdefault(release.namespace, {})
    assert all(records > seen.get(domain, 0) for domain, records in found["raw_records"].items()), (found, seen)
    seen |= found["raw_records"]
    return found


@pytest.fixture(scope="session", autouse=True)
def _wall_time(told: dict[str, Any]) -> Iterator[None]:
    begun = time.monotonic()
    yield
    told["seconds"]["all"] = round(time.monotonic() - begun, 1)


def pytest_unconfigure() -> None:
    if _TOLD["pods"]:
        print(json.dumps(_TOLD))
