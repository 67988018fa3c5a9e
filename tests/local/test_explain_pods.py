"""Why a pod does not serve is told in a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from local.explain_pods import explain


def pod(phase: str = "Pending", conditions: dict[str, str] | None = None, **state: Any) -> dict[str, Any]:
    told = [{"type": name, "status": value} for name, value in (conditions or {"PodScheduled": "True"}).items()]
    statuses = [{"name": "lander", "state": state}] if state else []
    return {
        "metadata": {"name": "tide-lander-0"},
        "status": {"phase": phase, "conditions": told, "containerStatuses": statuses},
    }


@pytest.mark.parametrize("fine", [pod("Succeeded"), pod("Running", {"Ready": "True"})])
def test_a_pod_that_serves_or_has_ended_well_needs_no_word(fine: dict[str, Any]) -> None:
    assert explain([fine]) == []


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("ImagePullBackOff", "make images"),
        ("CreateContainerConfigError", "make the Secret"),
        ("CrashLoopBackOff", "kubectl logs --previous"),
    ],
)
def test_what_a_container_waits_for_is_told_with_what_to_do(reason: str, fix: str) -> None:
    [told] = explain([pod(waiting={"reason": reason, "message": "Kubernetes' own words"})])
    assert told.startswith(f"tide-lander-0, container lander: {reason}: Kubernetes' own words; ")
    assert fix in told


def test_a_pod_that_no_node_takes_is_told_with_the_schedulers_words() -> None:
    waiting = pod()
    waiting["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu."}
    ]
    assert explain([waiting]) == [
        "tide-lander-0: Unschedulable: Insufficient cpu.; give the cluster what is missing, or lower "
        "*.resources.requests in the values"
    ]


def test_a_container_that_took_too_much_memory_and_one_that_failed() -> None:
    assert "raise its memory limit" in explain([pod(terminated={"reason": "OOMKilled", "exitCode": 137})])[0]
    assert "ended with 2; read `kubectl logs`" in explain([pod(terminated={"reason": "Error", "exitCode": 2})])[0]


def test_a_pod_that_is_only_slow_is_told_as_such() -> None:
    assert explain([pod("Running")]) == [
        "tide-lander-0: Running, not ready yet; `kubectl describe pod tide-lander-0` has its probes' answers"
    ]


def test_a_claim_without_a_volume_names_its_class() -> None:
    claim = {"metadata": {"name": "data-0"}, "status": {"phase": "Pending"}, "spec": {"storageClassName": "fast"}}
    assert explain([], [claim]) == [
        "claim data-0: no volume of fast; name a class that the cluster has: *.storage.className"
    ]
