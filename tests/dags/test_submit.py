"""The settings say whether a program runs in the worker or in a pod; a pod's request holds everything but secrets."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import ApiClient

from dags.program import last_document, of_domain
from dags.request import BadRequest
from dags.run_module import RunModule
from dags.run_pod import RunPod
from dags.submit import submit
from lake.errors import BadSettings

SECRETS = {
    "TIDEMARK_S3_SECRET_KEY": "hunter-222",
    "TIDEMARK_STORE_URL": "redis://:store-pass@store/0",
    "TIDEMARK_ALERT_WEBHOOK": "https://hooks/token-9",
    "PGPASSWORD": "postgres-pw",
}
CLUSTER = {
    "TIDEMARK_SUBMIT": "kubernetes",
    "TIDEMARK_KUBERNETES_IMAGE": "registry/tidemark:1.2",
    "TIDEMARK_KUBERNETES_NAMESPACE": "lake",
    "TIDEMARK_KUBERNETES_SERVICE_ACCOUNT": "jobs",
    "TIDEMARK_KUBERNETES_CONFIG_MAP": "plain",
    "TIDEMARK_KUBERNETES_SECRET": "hidden",
    "TIDEMARK_SPARK_EXECUTORS": "3",
    "TIDEMARK_SPARK_EXECUTOR_CPU": "250m",
}
INSTANCE = SimpleNamespace(dag_id="build_marts", task_id="build", run_id="manual__1", map_index=0, try_number=1)
CONTEXT = {"ti": INSTANCE, "run_id": "manual__1", "dag": SimpleNamespace(), "params": {}}


@pytest.fixture
def cluster(monkeypatch) -> None:
    for name, value in (CLUSTER | SECRETS).items():
        monkeypatch.setenv(name, value)


def _submit(arguments=of_domain, *, spark: bool = True):
    return submit(task_id="build", module="jobs.build_mart", domain="shop", arguments=arguments, spark=spark)


def _request(operator: RunPod) -> dict:
    pod = operator.build_pod_request_obj(CONTEXT, dry_run=True)
    return ApiClient().sanitize_for_serialization(pod)


def test_without_a_word_a_program_runs_in_a_process_of_the_worker():
    operator = _submit()
    assert isinstance(operator, RunModule)
    assert list(operator.operator_extra_links) == []


def test_a_task_links_to_the_dashboard_and_says_what_came_of_it(monkeypatch):
    monkeypatch.setenv("TIDEMARK_DASHBOARD_URL", "http://dashboard:8501")
    operator = submit(
        task_id="load",
        module="lake.cli",
        domain="users",
        arguments=of_domain,
        spark=False,
        tell=lambda loaded: f"version {loaded['version']}",
    )
    [link] = operator.operator_extra_links
    assert (link.name, link.get_link(operator, ti_key=None)) == ("Dashboard", "http://dashboard:8501")
    assert operator.summary == "users"
    operator.result = {"version": 7}
    assert operator.summary == "users: version 7"


def test_in_a_pod_the_program_is_a_list_of_arguments_made_when_the_task_runs(cluster):
    operator = _submit(lambda domain, context: ["--domain", domain, "--t1", f"$(rm -rf /) {context['run_id']}"])
    pod = _request(operator)
    [container] = pod["spec"]["containers"]
    assert container["command"] == ["python", "-m", "jobs.build_mart"]
    assert container["args"] == ["--domain", "shop", "--t1", "$(rm -rf /) manual__1", "--json"]
    assert (container["image"], pod["metadata"]["namespace"]) == ("registry/tidemark:1.2", "lake")
    assert pod["spec"]["serviceAccountName"] == "jobs"
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["restartPolicy"] == "Never"
    assert container["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}


def test_a_pods_labels_say_whose_it_is(cluster):
    labels = _request(_submit())["metadata"]["labels"]
    assert (
        labels.items()
        >= {
            "app.kubernetes.io/part-of": "tidemark",
            "tidemark/domain": "shop",
            "dag_id": "build_marts",
            "task_id": "build",
            "map_index": "0",
        }.items()
    )


def test_a_pods_request_names_its_secrets_and_holds_none(cluster):
    pod = _request(_submit())
    assert pod["spec"]["containers"][0]["envFrom"] == [
        {"configMapRef": {"name": "plain"}},
        {"secretRef": {"name": "hidden"}},
    ]
    text = json.dumps(pod)
    assert "jobs.build_mart" in text
    assert [value for value in (*SECRETS.values(), "store-pass") if value in text] == []


def test_with_spark_the_pod_is_the_driver_of_executor_pods_that_can_reach_it(cluster):
    [container] = _request(_submit())["spec"]["containers"]
    names = [variable["name"] for variable in container["env"]]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert variables["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert variables["POD_NAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    # Kubernetes fills in only variables that come before.
    assert names.index("PYSPARK_SUBMIT_ARGS") > max(names.index("POD_IP"), names.index("POD_NAME"))
    assert variables["TIDEMARK_SPARK_MASTER"]["value"].startswith("k8s://https://")
    words = shlex.split(variables["PYSPARK_SUBMIT_ARGS"]["value"])
    assert words[-1] == "pyspark-shell" and words[:-1:2] == ["--conf"] * (len(words) // 2)
    properties = dict(word.split("=", 1) for word in words[1::2])
    ports = {port["containerPort"] for port in container["ports"]}
    assert {int(properties[f"spark.driver.{name}"]) for name in ("port", "blockManager.port")} == ports
    assert (
        properties.items()
        >= {
            "spark.submit.deployMode": "client",
            "spark.driver.host": "$(POD_IP)",
            "spark.kubernetes.driver.pod.name": "$(POD_NAME)",
            "spark.kubernetes.namespace": "lake",
            "spark.kubernetes.container.image": "registry/tidemark:1.2",
            "spark.kubernetes.authenticate.executor.serviceAccountName": "jobs",
            "spark.kubernetes.executor.secretKeyRef.AWS_SECRET_ACCESS_KEY": "hidden:TIDEMARK_S3_SECRET_KEY",
            "spark.executor.instances": "3",
            "spark.kubernetes.executor.request.cores": "250m",
        }.items()
    )


def test_a_pod_and_its_executors_begin_as_the_templates_say(cluster, monkeypatch, tmp_path):
    template = tmp_path / "driver.yaml"
    template.write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: program}, spec: {nodeSelector: {pool: lake}, "
        "containers: [{name: base, securityContext: {readOnlyRootFilesystem: true}}]}}"
    )
    monkeypatch.setenv("TIDEMARK_KUBERNETES_POD_TEMPLATE", str(template))
    monkeypatch.setenv("TIDEMARK_SPARK_EXECUTOR_TEMPLATE", "/etc/executor.yaml")
    spec = _request(_submit())["spec"]
    assert spec["nodeSelector"] == {"pool": "lake"}
    [container] = spec["containers"]
    assert container["securityContext"] == {"readOnlyRootFilesystem": True}
    assert container["command"] == ["python", "-m", "jobs.build_mart"]
    assert "spark.kubernetes.executor.podTemplateFile=/etc/executor.yaml" in json.dumps(container)


def test_without_spark_the_pod_asks_for_no_executors(cluster):
    [container] = _request(_submit(spark=False))["spec"]["containers"]
    assert "PYSPARK_SUBMIT_ARGS" not in json.dumps(container)


def test_a_request_that_cannot_be_built_starts_no_pod_and_is_not_tried_again(cluster):
    def arguments(_domain, _context):
        raise BadRequest("t1='soon' is no time")

    with pytest.raises(AirflowFailException, match="t1='soon' is no time"):
        _submit(arguments).execute(CONTEXT)


def test_pods_need_an_image(cluster, monkeypatch):
    monkeypatch.delenv("TIDEMARK_KUBERNETES_IMAGE")
    with pytest.raises(BadSettings, match="TIDEMARK_KUBERNETES_IMAGE"):
        _submit()


def test_a_programs_result_is_the_last_document_that_it_printed():
    lines = ["{not json", '{"early": 1}', "starting Spark", '{"domain": "shop"}', "the JVM's last word"]
    assert last_document(lines, str) == {"domain": "shop"}
    with pytest.raises(AirflowException, match="said no result in its last 1 lines:\nSTARTING SPARK"):
        last_document(lines[2:3], str.upper)
