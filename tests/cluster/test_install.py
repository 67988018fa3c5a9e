"""The chart on a real cluster: upgraded from the version before, proven end to end, robbed of a pod of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.release import CHART, ClusterFailed, Release


def test_an_upgrade_from_the_version_before_keeps_data_passwords_and_keys(
    release: Release, before: dict[str, Any], verified: Callable[[], dict[str, Any]]
) -> None:
    assert before["verified"]["ok"], before["verified"]
    assert verified()["raw_records"]["shop"] > before["verified"]["raw_records"]["shop"] > 0
    after = release.secrets()
    assert "tidemark-airflow" in before["secrets"]
    assert {name: after[name] for name in before["secrets"]} == before["secrets"]


def test_every_pod_serves_in_a_namespace_that_admits_only_restricted_ones(release: Release) -> None:
    assert release.unready() == []
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in release.pods().values()}
    assert components >= {
        *("kafka", "minio", "store", "postgres", "lander", "speed", "canary", "dashboard", "producer", "console"),
        *("api-server", "scheduler", "dag-processor"),
    }


@pytest.mark.parametrize(
    "options",
    [
        ("-f", str(CHART / "values.yaml")),
        ("-f", str(CHART / "values-kind.yaml")),
        (
            *("-f", str(CHART / "values-production.yaml")),
            *("--set", "monitoring.serviceMonitor=false,monitoring.prometheusRule=false"),
        ),
    ],
    ids=["default", "kind", "production"],
)
def test_the_api_server_takes_every_profile(release: Release, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(release.helm("template", "dry", str(CHART), *options))
    release.kubectl("apply", "--dry-run=server", "-f", str(tmp_path / "all.yaml"))


def test_events_are_in_the_answer_by_speed_then_by_batch_and_verified(release: Release, told: dict[str, Any]) -> None:
    found = release.prove()
    told["seconds"]["helm_test"] = found["seconds"]
    told["mismatches"] += found["mismatches"]
    assert found["ok"], found["problems"]
    assert found["rows_compared"] > 0


@pytest.mark.parametrize(
    "component",
    [
        *("lander", "speed", "store", "dashboard", "canary", "kafka", "minio", "postgres"),
        *("scheduler", "api-server", "dag-processor", "producer", "console"),
    ],
)
def test_a_pod_of_each_kind_may_be_lost_under_load_and_every_number_is_right(
    release: Release, told: dict[str, Any], verified: Callable[[], dict[str, Any]], component: str
) -> None:
    release.lose(component)
    told["faults"] += 1
    told["seconds"][f"back_{component}"] = round(release.await_ready(900), 1)
    verified()


@pytest.mark.parametrize("component", ["lander", "speed"])
def test_a_pod_that_is_told_to_end_does_so_in_its_time_and_nothing_is_lost(
    release: Release, verified: Callable[[], dict[str, Any]], component: str
) -> None:
    """kubectl waits until it is gone: a grace period of 60 s, so a process that has to be killed takes longer."""
    selector = f"app.kubernetes.io/component={component}"
    release.kubectl("delete", "pod", "-l", selector, "--timeout=50s", seconds=60)
    release.await_ready(900)
    verified()


def test_a_secret_that_is_not_there_is_told_before_anything_is_installed(release: Release) -> None:
    other = Release("broken", release.namespace)
    with pytest.raises(ClusterFailed, match="names the Secret nowhere, which is not in the namespace"):
        other.put("--set", "store.enabled=false,store.existingSecret=nowhere", seconds=30)
    assert "broken" not in other.helm("list", "--all", "--short")


def test_a_value_that_is_none_is_told_before_anything_is_installed(release: Release) -> None:
    other = Release("broken", release.namespace)
    with pytest.raises(ClusterFailed, match="'replica' not allowed"):
        other.put("--set", "kafka.replica=3", seconds=30)
    assert "broken" not in other.helm("list", "--all", "--short")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("kafka.replicas=3", "kafka.replicas is 3 and 1 run, whose number was decided at the first start"),
        ("minio.replicas=4", "minio.replicas is 4 and 1 run"),
        ("postgres.storage.size=2Gi", "postgres.storage.size is 2Gi and the release's claims were made for 1Gi"),
    ],
)
def test_what_a_running_release_cannot_become_is_told_before_anything_is_changed(
    release: Release, options: str, sentence: str
) -> None:
    with pytest.raises(ClusterFailed, match=sentence):
        release.put("--set", options, seconds=30)


def test_an_image_that_does_not_exist_is_told_with_what_to_do(release: Release) -> None:
    other = Release("broken", release.namespace)
    try:
        with pytest.raises(ClusterFailed, match=r"tidemark/store:0\.0\.0-none.*the node cannot fetch the image"):
            other.put("--set", "images.store.tag=0.0.0-none", *_only_the_store(), seconds=60)
    finally:
        other.helm("uninstall", other.name, "--ignore-not-found")


def _only_the_store() -> tuple[str, ...]:
    """Whatever can be elsewhere is, and what remains has no pod but waits in vain for the provision job."""
    values = (
        *("kafka.enabled=false", "kafka.external.bootstrap=nowhere:9092"),
        *("producer.enabled=false", "canary.enabled=false", "console.enabled=false"),
        *("minio.enabled=false", "s3.external.endpoint=http://nowhere:9000", "s3.existingSecret=tidemark-s3-jobs"),
    )
    return tuple(option for value in values for option in ("--set", value))
