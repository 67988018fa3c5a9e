"""What the chart tells the processes are fields of Settings, and figures that stand in two places are the same."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from dags.run_pod import RunPod
from lake.log import MAX_MESSAGE_BYTES
from lake.settings import Settings
from local.tools import ROOT
from tests.helm.chart import CASES, CHART, named, objects, pods, template

# Read by DAGs themselves, since they shape the schedule.
_OF_DAGS = {"TIDEMARK_SCHEDULE", "TIDEMARK_SCHEDULE_START"}
_SECRETS = {"s3_access_key", "s3_secret_key", "store_url", "alert_webhook", "kafka_username", "kafka_password"}
_OF_ONE_PROCESS = {"metrics_port", "metrics_host", "kafka_certificate", "kafka_key"}
_OF_THE_OPERATOR = {"spark_master"}
# The chart runs the speed layer on Prism.
_OF_FLINK = {"runner", "flink_jars_dir", "flink_master", "flink_memory"}
FIELDS = set(Settings.model_fields)


def settings_of(case: str) -> dict[str, str]:
    return named(objects(case), "ConfigMap", "tide-tidemark")["data"]


def schema() -> dict:
    return json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_field_of_the_settings(case: str) -> None:
    names = set(settings_of(case))
    for pod in pods(objects(case)):
        for container in pod.containers:
            names |= {each["name"] for each in container.get("env", [])}
    ours = {name for name in names if name.startswith("TIDEMARK_")} - _OF_DAGS
    assert len(ours) > 20
    assert {name.removeprefix("TIDEMARK_").lower() for name in ours} <= FIELDS


def test_every_field_is_decided_by_the_chart_or_is_a_value_of_it() -> None:
    decided = {name.removeprefix("TIDEMARK_").lower() for name in settings_of("tls")}
    allowed = set(schema()["properties"]["settings"]["properties"])
    assert decided & allowed == {"segment_seconds"}
    assert decided | allowed | _SECRETS | _OF_ONE_PROCESS | _OF_THE_OPERATOR | _OF_FLINK == FIELDS


@pytest.mark.parametrize("case", CASES)
def test_the_settings_are_ones_that_a_process_accepts(case: str) -> None:
    values = {name.removeprefix("TIDEMARK_").lower(): value for name, value in settings_of(case).items()}
    if values["kafka_security_protocol"].startswith("SASL"):
        with pytest.raises(ValueError, match="kafka_password"):
            Settings(**values)
        values |= {"kafka_username": "out of", "kafka_password": "a Secret"}
    read = Settings(**values)
    assert read.submit == "kubernetes"
    assert read.kubernetes_namespace == "lake"


def test_a_large_number_is_written_out() -> None:
    done = template("--set", "settings.tile_events=20000000")
    assert 'TIDEMARK_TILE_EVENTS: "20000000"' in done.stdout


def test_the_shipped_domains_are_the_charts() -> None:
    data = named(objects("default"), "ConfigMap", "tide-tidemark-domains")["data"]
    assert data == {path.name: path.read_text() for path in (ROOT / "lake/domains").glob("*.yaml")}


def test_a_domain_of_ones_own_is_beside_them() -> None:
    found = objects("routed")
    data = named(found, "ConfigMap", "tide-tidemark-domains")["data"]
    assert {"german.yaml", "shop.yaml"} <= data.keys()
    [router] = [pod for pod in pods(found) if pod.labels["app.kubernetes.io/component"] == "router"]
    assert router.spec["containers"][0]["args"] == ["--domain", "german"]
    [lander] = [pod for pod in pods(found) if pod.labels["app.kubernetes.io/component"] == "lander"]
    assert lander.spec["containers"][0]["args"] == ["--domain", "shop", "--domain", "german"]


def keys(properties: str) -> set[str]:
    return {line.split("=")[0] for line in properties.splitlines() if "=" in line}


def test_a_broker_takes_messages_as_large_as_the_platform_sends() -> None:
    properties = named(objects("default"), "ConfigMap", "tide-tidemark-kafka")["data"]["server.properties"]
    assert f"message.max.bytes={MAX_MESSAGE_BYTES}\n" in properties
    # On one machine the group's start is hastened, and the disk is bounded.
    only_local = {"group.initial.rebalance.delay.ms", "log.retention.bytes"}
    assert keys((ROOT / "local/kafka/server.properties").read_text()) - keys(properties) == only_local


@pytest.mark.parametrize(("replicas", "copies", "acknowledged"), [(1, 1, 1), (3, 3, 2), (5, 3, 2)])
def test_brokers_name_all_voters_and_acknowledge_by_all_copies_but_one(
    replicas: int, copies: int, acknowledged: int
) -> None:
    options = f"kafka.replicas={replicas},kafka.replicationFactor={copies}"
    found = list(yaml.safe_load_all(template("--set", options).stdout))
    properties = named([each for each in found if each], "ConfigMap", "tide-tidemark-kafka")["data"][
        "server.properties"
    ]
    voters = re.search(r"^controller\.quorum\.voters=(.*)$", properties, re.M)
    assert voters
    assert [each.split("@")[0] for each in voters[1].split(",")] == [str(n) for n in range(replicas)]
    assert f"default.replication.factor={copies}\n" in properties
    assert f"min.insync.replicas={acknowledged}\n" in properties


def test_the_alerts_are_those_of_the_documentation() -> None:
    told = re.findall(r"^\| `([^`]+)` \| (\w*) ?\|", (ROOT / "docs/metrics.md").read_text(), re.M)
    alerts = yaml.safe_load((CHART / "alerts.yaml").read_text())
    wanted = [(expr, duration) for expr, duration in told if any(sign in expr for sign in "<>=")]
    assert len(wanted) == 20
    assert [(each["expr"], each.get("for", "")) for each in alerts] == wanted
    [rule] = [each for each in objects("monitored") if each["kind"] == "PrometheusRule"]
    assert [each["expr"] for each in rule["spec"]["groups"][0]["rules"]] == [expr for expr, _ in wanted]


def test_the_operator_finds_its_templates_where_they_are_mounted(tmp_path, monkeypatch) -> None:
    """The pod that Airflow would make from the rendered template, with the rendered settings."""
    from kubernetes.client import ApiClient

    data = named(objects("default"), "ConfigMap", "tide-tidemark-jobs")["data"]
    file = tmp_path / "driver.yaml"
    file.write_text(data["driver.yaml"])
    values = {name.removeprefix("TIDEMARK_").lower(): value for name, value in settings_of("default").items()}
    assert values["kubernetes_pod_template"] == "/etc/tidemark/jobs/driver.yaml"
    settings = Settings(**{**values, "kubernetes_pod_template": str(file)})

    def pod_of(spark: bool) -> dict:
        options = {"module": "jobs.build_mart", "domain": "shop", "arguments": lambda d, c: [], "task_id": "build"}
        operator = RunPod(settings=settings, spark=spark, **options)
        return ApiClient().sanitize_for_serialization(operator.build_pod_request_obj(_context(), dry_run=True))

    pod = pod_of(spark=True)
    [container] = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert pod_of(spark=False)["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["serviceAccountName"] == "tide-tidemark-jobs"
    variables = [each["name"] for each in container["env"]]
    assert variables.index("TIDEMARK_STORE_URL") < variables.index("PYSPARK_SUBMIT_ARGS")
    [submit] = [each["value"] for each in container["env"] if each["name"] == "PYSPARK_SUBMIT_ARGS"]
    assert f"spark.kubernetes.executor.podTemplateFile={settings.spark_executor_template}" in submit
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    folder, _, name = settings.spark_executor_template.rpartition("/")
    [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == mounts[folder]]
    assert volume["configMap"]["name"] == "tide-tidemark-jobs"
    assert name in data


def _context() -> dict:
    from types import SimpleNamespace

    instance = SimpleNamespace(dag_id="build_marts", task_id="build", run_id="manual__1", map_index=0, try_number=1)
    return {"ti": instance, "run_id": "manual__1", "dag": SimpleNamespace(), "params": {}}
