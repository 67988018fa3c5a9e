"""Day two on a real cluster: scaled, keys changed, rolled back, TLS turned on, and a new cluster on the old bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lake.waiting import wait_until
from local.tools import ROOT
from tests.cluster.conftest import KEEP, check
from tests.cluster.release import ClusterFailed, Release

Verified = Callable[[], dict[str, Any]]


def test_landers_and_readers_side_by_side_are_one_platform(release: Release, verified: Verified) -> None:
    release.put("--set", "lander.replicas=2,speed.groups=2")
    assert {"tidemark-lander-0", "tidemark-lander-1"} <= release.pods().keys()
    verified()


def test_a_domain_of_ones_own_is_added_by_an_upgrade_and_its_router_may_be_lost(
    release: Release, told: dict[str, Any], verified: Verified
) -> None:
    german = ROOT / "tests/cluster/german.yaml"
    release.put("--set", "domains.run={shop,german}", "--set-file", f"domains.files.german={german}")

    def arrived() -> bool | None:
        return bool(release.tidemark("verify", "--no-keep", "--domain", "german")["domains"][0]["raw_records"]) or None

    wait_until(arrived, 300, 2, lambda: AssertionError("no event of the shop was routed to german"))
    release.lose("router")
    told["faults"] += 1
    told["seconds"]["back_router"] = round(release.await_ready(900), 1)
    verified()


def test_rolled_back_it_goes_on(release: Release, verified: Verified) -> None:
    release.helm("rollback", release.name, "2", "--wait", "--wait-for-jobs", "--timeout", "1200s")
    release.await_ready()
    assert "tidemark-lander-1" not in release.pods()
    verified()


def test_an_identity_gets_new_keys(release: Release, verified: Verified) -> None:
    old = release.secret("tidemark-s3-lander")
    release.kubectl("delete", "secret", "tidemark-s3-lander")
    release.put()
    assert release.secret("tidemark-s3-lander")["TIDEMARK_S3_SECRET_KEY"] != old["TIDEMARK_S3_SECRET_KEY"]
    release.kubectl("rollout", "restart", "statefulset/tidemark-lander")
    release.kubectl("rollout", "status", "statefulset/tidemark-lander", "--timeout=300s", seconds=320)
    verified()


def test_each_task_may_have_a_pod_of_its_own(release: Release, told: dict[str, Any], verified: Verified) -> None:
    release.create_claim("logs")
    options = "airflow.executor=KubernetesExecutor,airflow.logsClaim=logs"
    release.put("--set", options, "--set", "airflow.triggerer.enabled=true")
    with release.seen("worker") as workers:
        found = release.prove()
    told["seconds"]["helm_test_with_kubernetes_executor"] = found["seconds"]
    assert found["ok"], found["problems"]
    assert workers
    find = ("find", "/airflow/logs", "-name", "*.log")
    kept = release.kubectl("exec", f"deployment/{release.name}-scheduler", "--", *find)
    assert "task_id=build" in kept  # the pods are gone, what they said is not
    release.lose("triggerer")
    release.await_ready(900)
    verified()


def test_servers_are_told_of_by_the_exporters_beside_them(release: Release, verified: Verified) -> None:
    release.put("--set", "monitoring.exporters=true")
    up = {"store": "redis_up 1", "postgres": "pg_up 1", "kafka": "kafka_controller_", "statsd": "airflow_"}
    for component, line in up.items():
        _await_metric(release, component, line)
    verified()


def _await_metric(release: Release, component: str, line: str) -> None:
    def told() -> bool | None:
        try:
            return line in release.metrics(component, 9102) or None
        except ClusterFailed:  # it does not listen yet
            return None

    wait_until(told, 120, 2, lambda: AssertionError(f"{component} did not tell {line!r}"))


def test_tls_is_turned_on_by_an_upgrade_and_brokers_hold_users_to_their_topics(
    release: Release, told: dict[str, Any], verified: Verified
) -> None:
    told["seconds"]["turn_tls_on"] = round(release.put("--set", "tls.enabled=true"), 1)
    settings = release.get("configmap", "--field-selector", f"metadata.name={release.name}")[0]["data"]
    assert settings["TIDEMARK_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL"
    assert settings["TIDEMARK_S3_ENDPOINT"].startswith("https://")
    found = release.prove()
    told["seconds"]["helm_test_with_tls"] = found["seconds"]
    assert found["ok"], found["problems"]
    verified()


@pytest.fixture(scope="module")
def old_bucket(release: Release) -> Release:
    """The release with all its pods gone but MinIO's: what is left of a cluster is its bucket."""
    for kind in ("deployment", "statefulset"):
        names = [each["metadata"]["name"] for each in release.get(kind)]
        gone = [f"{kind}/{name}" for name in names if name != f"{release.name}-minio"]
        release.kubectl("scale", "--replicas=0", *gone)
    release.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=kafka", "--timeout=300s")
    # Where policies are enforced, nobody of another namespace would reach it.
    release.kubectl("delete", "networkpolicy", f"{release.name}-minio", "--ignore-not-found")
    return release


@pytest.fixture(scope="module")
def restored(old_bucket: Release) -> Iterator[Release]:
    other = Release("tide", f"{old_bucket.namespace}-restored")
    other.delete()
    other.create_namespace()
    yield other
    if not os.environ.get(KEEP):
        other.delete()


def test_a_new_cluster_on_the_old_bucket_goes_on_where_that_ended(
    old_bucket: Release, restored: Release, told: dict[str, Any]
) -> None:
    keys, servers = old_bucket.secret("tidemark-minio"), old_bucket.secret("tidemark-tls")
    names = {"TIDEMARK_S3_ACCESS_KEY": "MINIO_ROOT_USER", "TIDEMARK_S3_SECRET_KEY": "MINIO_ROOT_PASSWORD"}
    restored.create_secret("old-keys", {name: keys[old] for name, old in names.items()})
    restored.create_secret("old-ca", {"ca.crt": servers["ca.crt"]})
    lake = (
        *("minio.enabled=false", "s3.existingSecret=old-keys", "tls.caSecret=old-ca"),
        f"s3.external.endpoint=https://tidemark-minio.{old_bucket.namespace}.svc:9000",
    )
    brokers = ("tls.enabled=true", "kafka.replicas=3", "kafka.replicationFactor=3")
    options = tuple(option for value in (*lake, *brokers) for option in ("--set", value))
    told["seconds"]["restore"] = round(
        restored.put(*options, "--set", "provision.restore=true,producer.enabled=false"), 1
    )
    check(restored, told)
    restored.put(*options)  # producers come last
    found = restored.prove()
    told["seconds"]["helm_test_restored"] = found["seconds"]
    assert found["ok"], found["problems"]
    check(restored, told)
