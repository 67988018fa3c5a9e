"""The arms that others' software makes: a script each, run by the interpreter of an environment of its own.

An environment is made once, by uv from `speed_arms/<name>.txt` and by Maven from `speed_arms/<name>.pom.xml`, and kept
beside the other tools; its name holds a hash of these files. The script is told on stdin, as one JSON object, where
Kafka and the store are; it adds up its answer in two hashes of the store, and reads from the topic's beginning.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from lake.errors import TidemarkError
from local.cache import cache_dir, entry
from local.tools import find_uv, require, run
from tests.bench.speed_events import SpeedEvents
from tests.bench.speed_run import ArmFailed
from tests.bench.speed_stream import Stream, answer_keys

FOLDER = Path(__file__).parent / "speed_arms"


@dataclass(frozen=True)
class Environment:
    """What a script needs beside the standard library; without `name`, what the project has itself."""

    name: str = ""

    @property
    def python(self) -> Path:
        return self.folder / "python/bin/python" if self.name else Path(sys.executable)

    @property
    def jars(self) -> Path:
        return self.folder / "jars"

    @property
    def folder(self) -> Path:
        texts = b"".join(file.read_bytes() for file in (self._packages, self._pom) if file.exists())
        return cache_dir() / f"bench-{self.name}-{hashlib.sha256(texts).hexdigest()[:10]}"

    def make(self) -> None:
        """Fetch it if it is not there. Raises ArmFailed with the reason why it cannot be had."""
        if not self.name:
            return
        try:
            entry(self.folder.name, self._fetch)
        except TidemarkError as error:
            raise ArmFailed(f"its packages cannot be had: {error}") from error

    def _fetch(self, into: Path) -> None:
        uv, python = find_uv(), into / "python"
        # Relocatable, since it is made beside its place and then moved.
        run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(python)], "see what uv says")
        told = ["--python", str(python / "bin/python"), "-r", str(self._packages)]
        run([uv, "pip", "install", "--quiet", *told], "the versions do not resolve here, or cannot be reached")
        if self._pom.exists():
            copy = ["-q", "-B", "-ntp", "-f", str(self._pom), "dependency:copy-dependencies"]
            jars = [f"-DoutputDirectory={into / 'jars'}", "-DincludeScope=runtime"]
            run([require("mvn"), *copy, *jars], "the versions do not resolve here, or cannot be reached")

    @property
    def _packages(self) -> Path:
        return FOLDER / f"{self.name}.txt"

    @property
    def _pom(self) -> Path:
        return FOLDER / f"{self.name}.pom.xml"


@dataclass
class ScriptArm:
    """`script` is a file of `speed_arms`."""

    name: str
    script: str
    environment: Environment

    def prepare(self) -> None:
        self.environment.make()

    def start(self, stream: Stream) -> subprocess.Popen:
        settings = stream.settings
        events, cents = answer_keys(stream)
        told = {
            "bootstrap": settings.kafka_bootstrap,
            "topic": stream.domain.topic,
            "partitions": stream.domain.partitions,
            "store": settings.store_url.get_secret_value(),
            "events": events,
            "cents": cents,
            "folder": str(stream.folder),
            "jars": str(self.environment.jars),
            "prism": str(settings.prism_binary),
        }
        with (stream.folder / "log").open("w") as log:
            process = subprocess.Popen(
                [str(self.environment.python), str(FOLDER / self.script)],
                cwd=stream.folder,
                env={name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SPARK"))},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
            )
        assert process.stdin is not None
        with process.stdin as stdin:
            json.dump(told, stdin)
        return process

    def progress(self, stream: Stream) -> int:
        return sum(map(int, _client(stream).hvals(answer_keys(stream)[0])))

    def goal(self, events: Sequence[SpeedEvents]) -> int:
        return sum(each.counted for each in events)

    def answer(self, stream: Stream) -> Mapping[tuple, tuple[int, int]]:
        client = _client(stream)
        events, cents = (client.hgetall(key) for key in answer_keys(stream))
        return {_row(row): (int(count), int(cents.get(row, 0))) for row, count in events.items()}


def _client(stream: Stream) -> redis.Redis:
    return redis.Redis.from_url(stream.settings.store_url.get_secret_value())


def _row(text: bytes) -> tuple[str, str, int]:
    kind, name, at = text.decode().split("|")
    return kind, name, int(at)


BEAM = ScriptArm("Beam, an element an event", "stock_beam.py", Environment())
QUIX = ScriptArm("Quix Streams", "quix.py", Environment("quix"))
BYTEWAX = ScriptArm("Bytewax", "bytewax_flow.py", Environment("bytewax"))
SPARK = ScriptArm("Spark Structured Streaming", "spark_counts.py", Environment("spark"))
