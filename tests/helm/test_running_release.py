"""What a release that runs already cannot become is refused with a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import template
from tests.helm.lookup_api import cluster_with


def stateful_set(replicas: int, size: str) -> dict[str, Any]:
    claim = {"spec": {"resources": {"requests": {"storage": size}}}}
    return {"replicas": replicas, "volumeClaimTemplates": [claim]}


@pytest.mark.parametrize(
    ("component", "running", "options", "sentence"),
    [
        ("kafka", stateful_set(1, "20Gi"), "kafka.replicas=3", "kafka.replicas is 3 and 1 run"),
        ("minio", stateful_set(4, "20Gi"), "minio.replicas=8", "minio.replicas is 8 and 4 run"),
        ("minio", stateful_set(1, "20Gi"), "minio.storage.size=40Gi", "made for 20Gi, which Kubernetes does not let"),
        (
            "postgres",
            stateful_set(1, "5Gi"),
            "postgres.storage.size=9Gi",
            "statefulset tide-tidemark-postgres --cas",
        ),
    ],
)
def test_servers_in_another_number_and_claims_of_another_size_are_refused(
    component: str, running: dict[str, Any], options: str, sentence: str
) -> None:
    with cluster_with({}, {f"tide-tidemark-{component}": running}) as cluster:
        done = template("--set", options, *cluster)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_a_release_whose_servers_are_as_they_were_or_are_stopped_is_upgraded() -> None:
    running = {"tide-tidemark-kafka": stateful_set(3, "20Gi"), "tide-tidemark-minio": stateful_set(0, "50Gi")}
    with cluster_with({}, running) as cluster:
        done = template(*cluster)
    assert done.returncode == 0, done.stderr
