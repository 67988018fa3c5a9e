"""What the chart has exporters do, done beside real servers: they tell what docs/metrics.md and the alerts ask for.

The commands, variables and files are those of the rendered chart; only addresses and folders are this machine's.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from lake.settings import Settings
from lake.waiting import wait_until
from local.tools import Tools, build_one
from tests.helm.chart import CHART, Object, Pod, named, objects, of_kind, pods, template
from tests.postgres import running_postgres

_START_SECONDS = 120
_ONE_BROKER = "monitoring.exporters=true,kafka.replicas=1,kafka.replicationFactor=1,kafka.heap=256m"


class Told(dict[str, list[tuple[dict[str, str], float]]]):
    """Labels and values of each metric."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def read(url: str) -> Told:
    """Samples by name, as Prometheus would keep them."""
    text, told = httpx.get(url, timeout=10).raise_for_status().text, Told()
    written = set(re.findall(r"^(\w+)[ {]", text, re.M))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # The parser calls every counter _total.
            name = sample.name if sample.name in written else sample.name.removesuffix("_total")
            told.setdefault(name, []).append((dict(sample.labels), sample.value))
    return told


def read_when(url: str, ready: Callable[[Told], bool], log: Path) -> Told:
    """What is told at `url`, once it is there and says what is waited for."""

    def look() -> Told | None:
        try:
            told = read(url)
        except httpx.HTTPError:
            return None
        return told if ready(told) else None

    return wait_until(look, _START_SECONDS, 0.5, lambda: AssertionError(log.read_text()[-3000:]))


def alerted(prefix: str) -> set[str]:
    """The metrics with this prefix that alerts ask for."""
    text = " ".join(each["expr"] for each in yaml.safe_load((CHART / "alerts.yaml").read_text()))
    return set(re.findall(rf"\b{prefix}_\w+", text))


def container(name: str, number: int = -1) -> Object:
    [pod] = [pod for pod in pods(objects("exporters")) if pod.labels["app.kubernetes.io/component"] == name]
    found: Object = pod.spec["containers"][number]
    return found


def plain_variables(told: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in told["env"] if "value" in each}


def test_a_broker_tells_of_its_replicas_topics_and_requests(tools: Tools, tmp_path: Path) -> None:
    done = template("--set", _ONE_BROKER)
    data = named([each for each in yaml.safe_load_all(done.stdout) if each], "ConfigMap", "tide-tidemark-kafka")["data"]
    clients, controller, exporter = (free_port() for _ in range(3))
    moved = {
        "HOST.tide-tidemark-kafka-nodes.lake.svc": "127.0.0.1",
        "tide-tidemark-kafka-0.tide-tidemark-kafka-nodes.lake.svc": "127.0.0.1",
        "://:": "://127.0.0.1:",
        "=9102:": f"=127.0.0.1:{exporter}:",
        "9092": str(clients),
        "9093": str(controller),
        "/etc/kafka/": f"{tmp_path}/configuration/",
        "/opt/kafka/libs": str(tools.kafka_jars),
        "/opt/kafka/exporter": str(build_one("jmx-exporter")),
        "/tmp/": f"{tmp_path}/",
        "/data/kafka": f"{tmp_path}/data",
    }
    (tmp_path / "configuration").mkdir()
    for name, text in data.items():
        (tmp_path / "configuration" / name).write_text(
            re.sub("|".join(map(re.escape, moved)), lambda found: moved[found[0]], text)
        )
    log, url = tmp_path / "kafka.log", f"http://127.0.0.1:{exporter}/metrics"
    controllers = "kafka_controller_kafkacontroller_activecontrollercount"
    with running(["bash", str(tmp_path / "configuration/start.sh")], {"HOSTNAME": "tide-tidemark-kafka-0"}, log):
        read_when(url, lambda told: told.get(controllers) == [({}, 1.0)], log)
        options = {"bootstrap.servers": f"127.0.0.1:{clients}"}
        admin = AdminClient(options)  # held until it has answered
        [made] = admin.create_topics([NewTopic("seen", 2, 1)]).values()
        made.result(60)
        producer = Producer(options)
        for _ in range(10):
            producer.produce("seen", b"x" * 100)
        assert producer.flush(30) == 0
        arrived = "kafka_server_brokertopicmetrics_messagesin_total"
        told = read_when(url, lambda told: ({"topic": "seen"}, 10.0) in told.get(arrived, []), log)
    assert alerted("kafka") <= told.keys()
    assert told["kafka_server_replicamanager_underreplicatedpartitions"] == [({}, 0.0)]
    sizes = {
        labels["partition"]: size for labels, size in told["kafka_log_log_size_bytes"] if labels["topic"] == "seen"
    }
    assert sizes.keys() == {"0", "1"} and sum(sizes.values()) > 1000
    latencies = [labels for labels, _ in told["kafka_network_requestmetrics_totaltimems"]]
    assert {"request": "Produce", "quantile": "0.99"} in latencies
    assert 0 <= told["kafka_server_requesthandler_idle_ratio"][0][1] <= 1.1
    assert ({"topic": "seen"}, 0.0) not in told["kafka_server_brokertopicmetrics_bytesin_total"]


def test_the_object_store_tells_without_a_login_only_if_it_is_asked_to(tools: Tools, tmp_path: Path) -> None:
    server = container("minio", 0)
    [monitor] = [
        each for each in of_kind(objects("exporters"), "ServiceMonitor") if each["metadata"]["name"].endswith("minio")
    ]
    [path] = [endpoint["path"] for endpoint in monitor["spec"]["endpoints"]]
    root = {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": secrets.token_hex(), "HOME": str(tmp_path)}
    for name, variables in (("public", plain_variables(server)), ("closed", {})):
        port, log = free_port(), tmp_path / f"{name}.log"
        command = [str(tools.minio), "server", str(tmp_path / name), "--address", f"127.0.0.1:{port}"]
        with running(command, {**root, **variables}, log):
            health = f"http://127.0.0.1:{port}/minio/health/live"
            wait_until(lambda: _answers(health), _START_SECONDS, 0.2, lambda: AssertionError(log.read_text()))  # noqa: B023
            url = f"http://127.0.0.1:{port}{path}"
            if name == "public":
                read_when(url, lambda told: alerted("minio") <= told.keys(), log)
            else:
                assert httpx.get(url).status_code == 403


def _answers(url: str) -> bool | None:
    try:
        return httpx.get(url).status_code == 200 or None
    except httpx.HTTPError:
        return None


def debian(program: str) -> str:
    """One of the exporters that the image has from Debian."""
    if found := shutil.which(program):
        return found
    pytest.skip(f"{program} is not on PATH (Debian: apt install {program})")


def test_the_store_is_told_of_to_whoever_has_its_password(settings: Settings, tmp_path: Path) -> None:
    beside = container("store")
    [program] = beside["command"]
    store = urlsplit(settings.store_url.get_secret_value())
    assert store.password
    [password] = [each["name"] for each in beside["env"] if "valueFrom" in each]
    for given, up in ((store.password, 1.0), ("wrong", 0.0)):
        port = free_port()
        variables = plain_variables(beside) | {
            "REDIS_ADDR": f"redis://{store.hostname}:{store.port}",
            "REDIS_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}",
            password: given,
        }
        assert plain_variables(beside).keys() >= {"REDIS_ADDR", "REDIS_EXPORTER_WEB_LISTEN_ADDRESS"}
        log = tmp_path / f"{up}.log"
        with running([debian(program)], variables, log):
            told = read_when(f"http://127.0.0.1:{port}/metrics", lambda told: "redis_up" in told, log)
        assert told["redis_up"] == [({}, up)]
        if up:
            assert alerted("redis") <= told.keys()
            assert store.password not in log.read_text()


def test_the_database_is_told_of(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    beside = container("postgres")
    [program] = beside["command"]
    exporter = debian(program)
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        address = urlsplit(server.get_uri())
        (tmp_path / "password").write_text("any\n")
        port, log = free_port(), tmp_path / "exporter.log"
        own = {
            "DATA_SOURCE_URI": f"{address.hostname or ''}{f':{address.port}' if address.port else ''}/postgres"
            f"?sslmode=disable&{address.query}",
            "DATA_SOURCE_USER": address.username or "postgres",
            "DATA_SOURCE_PASS_FILE": str(tmp_path / "password"),
            "PG_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        }
        assert own.keys() == plain_variables(beside).keys()
        with running([exporter], own, log):
            told = read_when(f"http://127.0.0.1:{port}/metrics", lambda told: told.get("pg_up") == [({}, 1.0)], log)
    assert alerted("pg") <= told.keys()


_AIRFLOW = """
from airflow._shared.observability.metrics import stats
from airflow.configuration import conf
from airflow.observability.metrics import stats_utils

legacy = conf.getboolean("metrics", "legacy_names_on")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
stats.incr("scheduler_heartbeat", 1, 1)
stats.incr("ti.finish", tags={"dag_id": "build_marts", "task_id": "build.shop", "state": "failed"})
stats.timing("dagrun.duration.success", 1500, tags={"dag_id": "build_marts", "run_type": "scheduled"})
"""


def test_airflows_processes_tell_with_dag_and_task_as_labels(tmp_path: Path) -> None:
    environment = named(objects("exporters"), "ConfigMap", "tide-tidemark-airflow")["data"]
    metrics = {name: value for name, value in environment.items() if name.startswith("AIRFLOW__METRICS__")}
    service = named(objects("exporters"), "Service", "tide-tidemark-statsd")
    [port] = service["spec"]["ports"]
    assert metrics["AIRFLOW__METRICS__STATSD_HOST"] == "tide-tidemark-statsd.lake.svc"
    assert metrics["AIRFLOW__METRICS__STATSD_PORT"] == str(port["port"])
    udp, web, log = free_port(socket.SOCK_DGRAM), free_port(), tmp_path / "statsd.log"
    program, *options = container("statsd", 0)["command"]
    moved = [each.replace(":9125", f"127.0.0.1:{udp}").replace(":9102", f"127.0.0.1:{web}") for each in options]
    with running([str(build_one("statsd-exporter") / program), *moved], {}, log):
        url = f"http://127.0.0.1:{web}/metrics"
        read_when(url, bool, log)
        own = {"AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1", "AIRFLOW__METRICS__STATSD_PORT": str(udp)}
        home = {"AIRFLOW_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, "-c", _AIRFLOW], check=True, env=home | metrics | own, capture_output=True)
        told = read_when(url, lambda told: "airflow_dagrun_duration_success_count" in told, log)
    assert alerted("airflow") <= told.keys()
    assert told["airflow_scheduler_heartbeat"] == [({}, 1.0)]
    task = {"dag_id": "build_marts", "task_id": "build.shop", "state": "failed"}
    assert told["airflow_ti_finish"] == [(task, 1.0)]
    assert {"dag_id": "build_marts", "run_type": "scheduled"} in [
        labels for labels, _ in told["airflow_dagrun_duration_success_count"]
    ]


@pytest.mark.parametrize("case", ["exporters", "exporters-with-tls", "production"])
def test_prometheus_alone_reaches_an_exporter(case: str) -> None:
    found = objects(case)
    allowed = [{"namespaceSelector": {}}]
    if case == "production":
        allowed = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    told = [pod for pod in pods(found) if pod.labels.get("tidemark/exporter") == "true"]
    assert {_component(pod) for pod in told} == {"kafka", "store", "statsd"} | (
        set() if case == "production" else {"postgres"}
    )
    for pod in told:
        [policy] = [
            each
            for each in of_kind(found, "NetworkPolicy")
            if each["metadata"]["name"] == f"tide-tidemark-{_component(pod)}"
        ]
        rules = [each for each in policy["spec"]["ingress"] if {"port": 9102, "protocol": "TCP"} in each["ports"]]
        assert [each["from"] for each in rules] == [allowed]
    names = {each["metadata"]["name"].removeprefix("tide-tidemark-") for each in of_kind(found, "ServiceMonitor")}
    assert names == {"metrics", "exporters", "minio"}


def test_without_exporters_nothing_of_them_is_there() -> None:
    found = objects("monitored")
    assert not [pod for pod in pods(found) if "tidemark/exporter" in pod.labels]
    assert not [pod for pod in pods(found) for each in pod.containers if each["name"] == "exporter"]
    assert [each["metadata"]["name"] for each in of_kind(found, "ServiceMonitor")] == ["tide-tidemark-metrics"]
    assert "javaagent" not in str(named(found, "ConfigMap", "tide-tidemark-kafka"))


def _component(pod: Pod) -> str:
    return pod.labels["app.kubernetes.io/component"]
