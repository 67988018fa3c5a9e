"""The chart on a real cluster: installed, proven from end to end, robbed of a pod of each kind, upgraded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.release import CHART, ClusterFailed, Release


def test_every_pod_serves_in_a_namespace_that_admits_only_restricted_ones(release: Release) -> None:
    assert release.unready() == []
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in release.pods().values()}
    assert components >= {
        *("kafka", "minio", "store", "postgres", "lander", "speed", "canary", "dashboard", "producer"),
        *("api-server", "scheduler", "dag-processor"),
    }


def test_the_api_server_takes_every_profile(release: Release, tmp_path: Path) -> None:
    for profile in ("values-kind.yaml", "values.yaml"):
        text = release.helm("template", "dry", str(CHART), "-f", str(CHART / profile))
        (tmp_path / profile).write_text(text)
        release.kubectl("apply", "--dry-run=server", "-f", str(tmp_path / profile))


def test_events_are_in_the_answer_by_speed_then_by_batch_and_verified(release: Release, told: dict[str, Any]) -> None:
    found = release.prove()
    told["path_seconds"] = found["seconds"]
    assert found["ok"], found["problems"]
    assert found["mismatches"] == 0
    assert found["rows_compared"] > 0


@pytest.mark.parametrize(
    "component", ["lander", "speed", "store", "dashboard", "canary", "kafka", "minio", "postgres", "scheduler"]
)
def test_a_pod_of_each_kind_may_be_lost_and_every_number_is_right(
    release: Release, told: dict[str, Any], component: str
) -> None:
    release.kubectl("delete", "pod", "-l", f"app.kubernetes.io/component={component}", "--wait=true", seconds=300)
    release.await_ready(900)
    found = release.tidemark("verify", "--no-keep")
    told["faults"] += 1
    told["mismatches"] += sum(view["mismatches"] for each in found["domains"] for view in each["views"])
    assert found["ok"], found


def test_an_upgrade_keeps_every_password_and_key(release: Release) -> None:
    before = release.secrets()
    assert "tidemark-airflow" in before
    release.put("--set", "producer.rate=20")
    assert release.secrets() == before
    assert release.tidemark("verify", "--no-keep")["ok"]


def test_an_image_that_does_not_exist_fails_and_kubernetes_says_which(release: Release) -> None:
    other = Release("broken", release.namespace)
    with pytest.raises(ClusterFailed, match=r"context deadline exceeded|timed out"):
        other.helm(
            *("install", other.name, str(CHART), "-f", str(CHART / "values-kind.yaml")),
            *("--set", "images.app.tag=0.0.0-none,producer.enabled=false", "--wait", "--timeout", "60s"),
        )
    try:
        told = release.kubectl("get", "events", "--field-selector", "reason=Failed", "-o", "jsonpath={..message}")
        assert "tidemark/app:0.0.0-none" in told
    finally:
        other.helm("uninstall", other.name)
