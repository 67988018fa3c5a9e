"""Beam's Flink runner: a job server as a child, a Flink within it or behind it; workers are processes.

Invariant: the jars are those that set-up has fetched; there is no download and no other runner instead. What Flink
keeps is nobody's checkpoint (it takes none, and a job that failed is not restarted by it but begun anew from the
store), and no secret is in what it is given: workers read their settings themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lake.errors import BadSettings
from lake.settings import Settings
from streaming.child import child, free_port
from streaming.flink_cluster import FlinkCluster
from streaming.worker_metrics import WORKERS_WRITE_TO

_DRIVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_WORKER = "tidemark-worker"
LOCAL = "[local]"
"""The master that is within the job server's process."""
# Workers inherit the job server's stderr only where its log says how it starts them.
_LOGS = {
    "defaultLogLevel": "warn",
    "log.org.apache.flink": "error",
    "log.org.apache.beam.runners.fnexecution.environment.ProcessManager": "debug",
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "showThreadName": "false",
}
_CONFIGURATION = {
    "rest.bind-address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "restart-strategy.type": "none",
}


@contextmanager
def flink(settings: Settings, name: str, workers: int, folder: Path) -> Iterator[list[str]]:
    """A running job server: the pipeline options that choose it. Call from the main thread: it dies with the caller's.

    `name` is the job's. Flink and its workers write to `folder`, which only we should read. On a cluster the job is in
    `workers` slots, and one of that name ends before and after.
    """
    command = [*_java(settings), "-cp", f"{_jars(settings)}/*"]
    port = free_port()
    (folder / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in _CONFIGURATION.items()))
    command += [f"-Djava.io.tmpdir={folder}", _DRIVER, "--job-host", "127.0.0.1", "--job-port", str(port)]
    command += ["--artifact-port", "0", "--expansion-port", "0", "--artifacts-dir", str(folder / "artifacts")]
    command += ["--flink-conf-dir", str(folder), "--flink-master", settings.flink_master]
    is_local = settings.flink_master == LOCAL
    slots = 1 if is_local else workers
    environment = {"command": str(_worker())}
    with (
        nullcontext() if is_local else _alone(FlinkCluster(settings.flink_master), name),
        child("Flink's job server", command, port, os.environ | {WORKERS_WRITE_TO: str(folder)}),
    ):
        yield [
            *("--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{port}", f"--job_name={name}"),
            *("--environment_type=PROCESS", f"--environment_config={json.dumps(environment)}"),
            f"--parallelism={slots}",
            # What Flink keeps of each rest that a reader hands back, it keeps so many times: 38 KiB of heap by default.
            f"--max_parallelism={slots}",
            # A reader goes on when the bundle that its rest begins is full, or has lasted so long: by default a second.
            *("--max_bundle_size=1", "--max_bundle_time_mills=50", "--default_sdk_harness_log_level=WARN"),
            "--experiments=disable_logging_submission_environment",  # it asks pip, which need not be there
        ]


@contextmanager
def _alone(cluster: FlinkCluster, name: str) -> Iterator[None]:
    cluster.end(name)
    try:
        yield
    finally:
        cluster.end(name)


def _java(settings: Settings) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise BadSettings("runner 'flink' needs java 17 or newer on PATH: `tidemark doctor` says how to get it")
    logs = [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in _LOGS.items()]
    return [java, f"-Xmx{settings.flink_memory}", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", *logs]


def _jars(settings: Settings) -> Path:
    folder = settings.flink_jars_dir
    if folder is None or not any(folder.glob("beam-runners-flink-*.jar")):
        raise BadSettings(
            f"TIDEMARK_FLINK_JARS_DIR={folder}: expected the directory of Flink's jars; `tidemark setup --flink` "
            "fetches them"
        )
    return folder


def _worker() -> Path:
    program = Path(sys.executable).with_name(_WORKER)
    if not os.access(program, os.X_OK):
        raise BadSettings(f"{program} is missing: it is installed with the package (`make setup`)")
    return program
