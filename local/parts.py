"""What the stack is made of: each part's command, its files, its ports and how its health is asked.

No command line holds a secret: those are in files of mode 600 or in the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from lake.cuts import format_time
from lake.log import MAX_MESSAGE_BYTES
from local import health
from local.errors import PartFailed
from local.ports import HOST, Ports
from local.showcase import SHOWCASE
from local.tools import ROOT, Tools, require

AIRFLOW_USER = "admin"

SERVERS = ("kafka", "minio", "store")
"""They start first, and stop last."""
AIRFLOW = ("airflow", "scheduler", "dag-processor")
DOMAINS, ROUTED = "TIDEMARK_DOMAINS", "TIDEMARK_ROUTED"
"""Variables of settings.env: the domains that this stack runs, and which of those have sources."""


@dataclass(frozen=True)
class Part:
    name: str
    command: list[str]
    ports: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    """Writes what the part reads at its start; called before every start."""
    unhealthy: Callable[[], str | None] | None = None
    """Why the part does not serve yet; None asked of a part without one means: running is enough."""
    address: str | None = None
    start_seconds: int = 60

    @property
    def metrics(self) -> str | None:
        """Where Prometheus reads what the part tells of itself, for a part with a port <name>_metrics."""
        return f"http://{HOST}:{self._metrics_port}/metrics" if self._metrics_port else None

    @property
    def launch(self) -> list[str]:
        """The command, with the port that no other part inherits."""
        own = ("env", f"TIDEMARK_METRICS_PORT={self._metrics_port}") if self._metrics_port else ()
        return [*own, *self.command]

    @property
    def _metrics_port(self) -> int | None:
        return self.ports.get(f"{self.name}_metrics")


def all_parts(home: Path, ports: Ports, variables: Mapping[str, str], tools: Tools) -> dict[str, Part]:
    """Every part by name, in the order of their start; `variables` are those of settings.env."""
    domains, routed = (_names(variables, name) for name in (DOMAINS, ROUTED))
    kafka = home / "kafka"
    bootstrap = f"{HOST}:{ports.kafka}"
    minio_url, airflow_url = f"http://{HOST}:{ports.minio}", f"http://{HOST}:{ports.airflow}"
    dashboard_url = f"http://{HOST}:{ports.dashboard}"
    parts = [
        Part(
            "kafka",
            [*_kafka_java(tools), "kafka.Kafka", str(kafka / "server.properties")],
            {"kafka": ports.kafka, "kafka_controller": ports.kafka_controller},
            lambda: _prepare_kafka(kafka, ports, tools),
            lambda: health.kafka({"bootstrap.servers": bootstrap}),
            bootstrap,
        ),
        Part(
            "minio",
            [
                *(str(tools.minio), "server", str(home / "minio"), "--quiet"),
                *("--address", f"{HOST}:{ports.minio}"),
                *("--console-address", f"{HOST}:{ports.minio_console}"),
            ],
            {"minio": ports.minio, "minio_console": ports.minio_console},
            lambda: (home / "minio").mkdir(exist_ok=True),
            lambda: health.http(f"{minio_url}/minio/health/live"),
            f"http://{HOST}:{ports.minio_console}",
        ),
        Part(
            "store",
            [str(tools.store_server), str(home / "store.conf")],
            {"store": ports.store},
            lambda: _prepare_store(home, ports, variables["TIDEMARK_STORE_URL"]),
            lambda: health.store(variables["TIDEMARK_STORE_URL"]),
            f"{HOST}:{ports.store}",
        ),
        _python("lander", "streaming.land", *_each(domains), metrics=ports.lander_metrics),
        *([_python("router", "streaming.route", *_each(routed), metrics=ports.router_metrics)] if routed else []),
        _python("speed", "streaming.speed", *_each(domains), metrics=ports.speed_metrics),
        _python("canary", "streaming.canary", *_each(domains), metrics=ports.canary_metrics),
        # What `airflow standalone` runs, but each under supervision; without the triggerer, which no
        # DAG of ours needs, and without the log servers, which listen on every network.
        Part(
            "airflow",
            ["airflow", "api-server"],
            {"airflow": ports.airflow},
            lambda: _prepare_airflow(home, ports, variables),
            lambda: health.airflow(airflow_url, "metadatabase"),
            airflow_url,
            start_seconds=180,
        ),
        Part(
            "scheduler",
            ["airflow", "scheduler", "--skip-serve-logs"],
            unhealthy=lambda: health.airflow(airflow_url, "scheduler"),
            start_seconds=180,
        ),
        Part(
            "dag-processor",
            ["airflow", "dag-processor"],
            unhealthy=lambda: health.airflow(airflow_url, "dag_processor"),
            start_seconds=180,
        ),
        Part(
            "dashboard",
            [
                *(sys.executable, "-m", "dashboard"),
                *("--server.port", str(ports.dashboard), "--server.address", HOST),
                *("--server.headless", "true", "--browser.gatherUsageStats", "false"),
            ],
            {"dashboard": ports.dashboard, "dashboard_metrics": ports.dashboard_metrics},
            unhealthy=lambda: health.http(f"{dashboard_url}/_stcore/health"),
            address=dashboard_url,
        ),
        *(_producer(domain, len(domains)) for domain in domains if domain in SHOWCASE),
    ]
    return {part.name: part for part in parts}


def environment(home: Path, ports: Ports, variables: Mapping[str, str]) -> dict[str, str]:
    """What every part inherits, on top of settings.env, which is `variables`: the servers' own variables."""
    airflow = f"http://{HOST}:{ports.airflow}"
    return {
        "TIDEMARK_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "MINIO_ROOT_USER": variables["TIDEMARK_S3_ACCESS_KEY"],
        "MINIO_ROOT_PASSWORD": variables["TIDEMARK_S3_SECRET_KEY"],
        "MINIO_UPDATE": "off",
        # A schedule that began before the stack was down would first run for every hour it missed;
        # the first slice after a pause reaches back to the frontier anyway.
        "TIDEMARK_SCHEDULE_START": format_time(datetime.now(UTC)),
        "TIDEMARK_DASHBOARD_URL": f"http://{HOST}:{ports.dashboard}",
        # A commit a second to one of the raw tables: more than that is most of the work where several domains run.
        "TIDEMARK_LAND_INTERVAL_SECONDS": os.environ.get(
            "TIDEMARK_LAND_INTERVAL_SECONDS", str(max(1, len(_names(variables, DOMAINS))))
        ),
        "AIRFLOW_HOME": str(home / "airflow"),
        # A writer waits for the others this long (s); after the usual five, a command fails on a busy machine.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.resolve()}/airflow/airflow.db?timeout=60",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{airflow}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{AIRFLOW_USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "airflow/passwords.json"),
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # of a scheduler that was killed
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(ports.airflow),
        "AIRFLOW__API__BASE_URL": airflow,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": variables["TIDEMARK_AIRFLOW_SECRET"],
        "AIRFLOW__API_AUTH__JWT_SECRET": variables["TIDEMARK_AIRFLOW_SECRET"],
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    beside.replace(path)


def producer(domain: str) -> str:
    """The name of the part that sends a domain's live events."""
    return f"producer-{domain}"


def _producer(domain: str, shared_by: int) -> Part:
    """Its rate on its own, or its share where several domains run on the machine."""
    rate = os.environ.get("TIDEMARK_DEMO_RATE", str(SHOWCASE[domain].events_per_second // shared_by))
    return _python(producer(domain), "streaming.produce", "--domain", domain, "--rate", rate)


def _names(variables: Mapping[str, str], name: str) -> list[str]:
    return [each for each in variables.get(name, "").split(",") if each]


def _each(domains: Sequence[str]) -> list[str]:
    return [option for domain in domains for option in ("--domain", domain)]


def _python(name: str, module: str, *options: str, metrics: int | None = None) -> Part:
    ports = {f"{name}_metrics": metrics} if metrics else {}
    return Part(name, [sys.executable, "-m", module, *options], ports)


def _kafka_java(tools: Tools) -> list[str]:
    return [
        *("java", "-Xms256m", "-Xmx512m", "-Djava.awt.headless=true"),
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss",
        *("-cp", f"{tools.kafka_jars}/*"),
    ]


def _prepare_kafka(kafka: Path, ports: Ports, tools: Tools) -> None:
    kafka.mkdir(exist_ok=True)
    template = (ROOT / "local/kafka/server.properties").read_text()
    values: dict[str, object] = {"kafka": ports.kafka, "controller": ports.kafka_controller}
    values |= {"data": kafka / "data", "max_message_bytes": MAX_MESSAGE_BYTES}
    for name, value in values.items():
        template = template.replace(f"${{{name}}}", str(value))
    properties = kafka / "server.properties"
    properties.write_text(template)
    if (kafka / "data/meta.properties").exists():
        return
    require("java")
    formatting = subprocess.run(
        [
            *(*_kafka_java(tools), "kafka.tools.StorageTool", "format"),
            *("-c", str(properties), "-t", str(uuid.uuid4())),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if formatting.returncode:
        raise PartFailed(f"Kafka's storage could not be formatted: {formatting.stderr.strip()}")


def _prepare_store(home: Path, ports: Ports, url: str) -> None:
    write_private(
        home / "store.conf",
        f"bind {HOST}\nport {ports.store}\nrequirepass {urlsplit(url).password}\n"
        # A cache of the log: nothing on disk; and full means refused, never silently evicted.
        f'save ""\nappendonly no\nmaxmemory 1gb\nmaxmemory-policy noeviction\ndir "{home}"\n',
    )


def _prepare_airflow(home: Path, ports: Ports, variables: Mapping[str, str]) -> None:
    airflow = home / "airflow"
    airflow.mkdir(exist_ok=True)
    password = variables["TIDEMARK_AIRFLOW_PASSWORD"]
    write_private(airflow / "passwords.json", json.dumps({AIRFLOW_USER: password}))
    migration = subprocess.run(
        [str(Path(sys.executable).parent / "airflow"), "db", "migrate"],
        env=os.environ | environment(home, ports, variables),
        check=False,
        capture_output=True,
        text=True,
    )
    if migration.returncode:
        raise PartFailed(f"Airflow's database could not be made: {migration.stderr.strip()[-2000:]}")
