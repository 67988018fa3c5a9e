"""Every pod, of the chart's controllers and of its templates, is one that the restricted standard admits, and says what
it needs, when it serves and when it is broken."""

from __future__ import annotations

import re

import pytest

from tests.helm.chart import CASES, Pod, named, objects, pods

_API_USERS = {"airflow", "api-server"}
_OF_THE_CLUSTER = 950
"""Millicores that kind's own pods ask for: API server 250, controllers and DNS 200 each, three others 100 each."""
# Pods whose work is done when they end, and templates, whose probes are the work of whoever makes them.
_UNPROBED = (
    "Job/",
    "Pod/",
    "Deployment/tide-tidemark-producer-",
    "Deployment/tide-tidemark-console",
)


def case_pods() -> list[object]:
    return [pytest.param(pod, id=f"{case}-{pod.owner}") for case in CASES for pod in pods(objects(case))]


every_pod = pytest.mark.parametrize("pod", case_pods())


@every_pod
def test_a_pod_passes_the_restricted_standard(pod: Pod) -> None:
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
    for container in pod.containers:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["privileged"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert all("hostPort" not in port for port in container.get("ports", []))
    kinds = {next(iter(volume.keys() - {"name"})) for volume in pod.spec.get("volumes", [])}
    assert kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}


@every_pod
def test_a_container_mounts_what_the_pod_declares_and_can_write_only_to_scratch(pod: Pod) -> None:
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for container in pod.containers:
        mounts = container["volumeMounts"]
        assert "/tmp" in [mount["mountPath"] for mount in mounts]
        for mount in mounts:
            volume = volumes.get(mount["name"], {"persistentVolumeClaim": {}} if mount["name"] == "data" else None)
            assert volume is not None, mount
            if not mount.get("readOnly"):
                assert volume.keys() & {"emptyDir", "persistentVolumeClaim"}, mount


@every_pod
def test_a_container_says_what_it_needs_and_what_it_may_use(pod: Pod) -> None:
    if pod.is_template and "/worker.yaml" not in pod.owner:
        return  # its maker, the operator or Spark, adds them
    for container in pod.containers:
        assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
        assert container["resources"]["limits"].keys() == {"memory", "ephemeral-storage"}


@every_pod
def test_an_image_is_pinned(pod: Pod) -> None:
    for container in pod.containers:
        assert re.fullmatch(r"docker\.io/tidemark/[a-z]+(:\d+\.\d+\.\d+|@sha256:[0-9a-f]{64})", container["image"])


@every_pod
def test_a_server_tells_when_it_starts_serves_and_hangs(pod: Pod) -> None:
    if pod.is_template or pod.owner.startswith(_UNPROBED):
        return
    container, *beside = pod.spec["containers"]
    assert {"startupProbe", "livenessProbe"} <= container.keys()
    for each in beside:  # an exporter, without which the server serves as well
        assert each["name"] == "exporter"
        assert "livenessProbe" in each
        assert "readinessProbe" not in each
    ports = {port["name"] for port in container.get("ports", [])}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {})
        asked = probe.get("httpGet") or probe.get("tcpSocket")
        assert asked is None or asked["port"] in ports
    if ports - {"health", "logs"}:
        assert "readinessProbe" in container


@every_pod
def test_only_who_asks_the_api_of_kubernetes_has_a_token(pod: Pod) -> None:
    account = pod.spec.get("serviceAccountName", "").removeprefix("tide-tidemark-")
    assert pod.spec["automountServiceAccountToken"] is (account in _API_USERS)


@every_pod
def test_a_components_pods_are_spread(pod: Pod) -> None:
    constraints = pod.spec["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in constraints] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for each in constraints:
        assert each["labelSelector"]["matchLabels"].items() <= pod.labels.items()
        assert each["nodeTaintsPolicy"] == "Honor"


def test_only_brokers_and_object_servers_must_be_on_hosts_of_their_own() -> None:
    """A zone is never a must: nodes may have none."""
    found = pods(objects("production"))
    musts = {
        (pod.labels["app.kubernetes.io/component"], each["topologyKey"])
        for pod in found
        for each in pod.spec["topologySpreadConstraints"]
        if each["whenUnsatisfiable"] == "DoNotSchedule"
    }
    assert musts == {("kafka", "kubernetes.io/hostname"), ("minio", "kubernetes.io/hostname")}


def test_a_placed_pod_has_its_nodes_priority_and_logins() -> None:
    found = pods(objects("placed"))
    assert len(found) > 15
    for pod in found:
        assert pod.spec["nodeSelector"] == {"pool": "lake"}
        assert pod.spec["priorityClassName"] == "high"
        assert pod.spec["imagePullSecrets"] == [{"name": "login"}]


def test_the_small_profile_and_all_jobs_that_run_at_a_time_fit_a_node_of_two_cores() -> None:
    found = objects("kind")
    # Jobs are done before a slice is built; drivers and executors begin as templates, which ask for nothing.
    lasting = [pod for pod in pods(found) if not pod.is_template and not pod.owner.startswith("Job/")]
    servers = sum(map(_asked, lasting))
    told = named(found, "ConfigMap", "tide-tidemark")["data"]
    executors = int(told["TIDEMARK_SPARK_EXECUTORS"]) * _millicores(told["TIDEMARK_SPARK_EXECUTOR_CPU"])
    at_a_time = int(named(found, "ConfigMap", "tide-tidemark-airflow")["data"]["AIRFLOW__CORE__PARALLELISM"])
    asked = servers + at_a_time * (_millicores(told["TIDEMARK_KUBERNETES_CPU"]) + executors)
    assert 500 < asked <= 2000 - _OF_THE_CLUSTER


def test_an_upgrade_of_the_small_profile_fits_a_node_of_two_cores() -> None:
    """Or new pods would wait for room that old ones have, which leave only when new ones serve."""
    found = objects("kind")
    all_pods = {pod.owner: pod for pod in pods(found) if not pod.is_template}
    deployments = [each for each in found if each["kind"] == "Deployment"]
    twice = [each for each in deployments if each["spec"].get("strategy", {}).get("type") != "Recreate"]
    surge = sum(_asked(all_pods[f"Deployment/{each['metadata']['name']}"]) for each in twice)
    assert len(twice) > 3
    assert sum(map(_asked, all_pods.values())) + surge <= 2000 - _OF_THE_CLUSTER


def _asked(pod: Pod) -> int:
    """Millicores that the scheduler finds room for: an init container's are asked for the whole of a pod's life."""
    started, serving = (
        [_millicores(each["resources"]["requests"]["cpu"]) for each in pod.spec.get(kind, [])]
        for kind in ("initContainers", "containers")
    )
    return max([*started, sum(serving)])


def _millicores(quantity: str) -> int:
    return int(quantity.removesuffix("m")) if quantity.endswith("m") else round(1000 * float(quantity))


def test_a_brokers_readiness_asks_the_quorum() -> None:
    [kafka] = [pod for pod in pods(objects("default")) if pod.owner == "StatefulSet/tide-tidemark-kafka"]
    [container] = kafka.spec["containers"]
    script = container["readinessProbe"]["exec"]["command"][-1]
    [scripts] = [
        o for o in objects("default") if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "tide-tidemark-kafka"
    ]
    assert script.removeprefix("/etc/kafka/") in scripts["data"]
    assert "MetadataQuorumCommand" in scripts["data"]["quorum.sh"]
    assert "LeaderId" in scripts["data"]["quorum.sh"]
