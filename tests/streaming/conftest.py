"""What the streaming tests share: a producer, the processes they kill, and what the log holds, read plainly."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from pydantic import SecretStr

from lake.kernel import Kernel
from lake.log import Log
from lake.store import SpeedStore
from local.tools import set_up
from streaming.child import free_port
from streaming.events.shop import shop_events
from streaming.events.stream import Shares
from streaming.log_reader import LogReader
from streaming.pieces import PIECE
from streaming.produce import EventProducer
from streaming.topic import TopicWatch
from tests.conftest import Sandbox
from tests.store_server import store_server

ROOT = Path(__file__).parents[2]
SHARES = Shares(late=0.1, duplicates=0.05, malformed=0.05)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def runners(tools) -> None:
    """Every runner is installed."""
    set_up(flink=True)


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, polled; fails after `seconds`."""
    return wait_for


@pytest.fixture
def send() -> Callable[..., None]:
    """send(sandbox, count, seed=1): that many invented events, acknowledged."""

    def send(sandbox, count: int, seed: int = 1) -> None:
        producer = EventProducer(sandbox.settings, sandbox.domain.topic)
        records = shop_events(seed, SHARES, lambda: time.time_ns() // 1_000_000, history_ms=600_000)
        for record in islice(records, count):
            producer.send(*record)
        producer.close()

    return send


@dataclass
class Workers:
    """Processes of ours, each `python -m MODULE --domain D`, killed at the end if they are still there."""

    folder: Path
    _running: list[subprocess.Popen] = field(default_factory=list)

    def start(self, module: str, sandbox, *options: str, **environment: str) -> subprocess.Popen:
        log = self.folder / f"{module}-{len(self._running)}.log"
        process = subprocess.Popen(
            [sys.executable, "-m", module, "--domain", sandbox.domain.name, *options],
            cwd=ROOT,
            env=sandbox.environment | environment,
            stderr=log.open("w"),
        )
        self._running.append(process)
        return process

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def workers(tmp_path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.stop()


@pytest.fixture
def read_log() -> Callable[..., pa.Table]:
    """read_log(sandbox): every record of the topic from its beginning to its end now, as RAW_SCHEMA."""

    def read(sandbox) -> pa.Table:
        end = Log(sandbox.settings, sandbox.domain).end()
        topic = TopicWatch(sandbox.settings, sandbox.domain.topic).now()
        batches = []
        with closing(LogReader(sandbox.settings, topic, dict.fromkeys(topic.partitions, 0))) as reader:
            while any(reader.positions[p] < offset for p, offset in end.items()):
                if batch := reader.poll(50_000, 1 << 28, 1):
                    batches.append(batch.rows)
        return pa.concat_tables(batches)

    return read


@pytest.fixture
def speed_store() -> Callable[..., SpeedStore]:
    def store(sandbox, **options: bool) -> SpeedStore:
        generation = Kernel(sandbox.domain).generation(sandbox.settings.segment_seconds)
        return SpeedStore(sandbox.settings.store_url, generation, sandbox.domain.name, **options)

    return store


@pytest.fixture
def own_store(make_sandbox, tools) -> tuple[Sandbox, Callable[..., AbstractContextManager[redis.Redis]]]:
    """A sandbox, and a context in which its store, of this test alone, is there; each time an empty one."""
    port = free_port()
    sandbox = make_sandbox(segment_seconds=1, store_url=SecretStr(f"redis://127.0.0.1:{port}/0"))
    return sandbox, partial(store_server, tools.store_server, port)


@dataclass(frozen=True)
class Expected:
    """What the store has to hold: {(partition, segment): ([first, next), {view: states})}."""

    ranges: dict[tuple[int, int], tuple[int, int]]
    states: dict[tuple[int, int], dict[str, pa.Table]]


@pytest.fixture
def expected(read_log) -> Callable[..., Expected]:
    """expected(sandbox): one kernel call over the log, segments assigned record by record in plain Python."""

    def compute(sandbox) -> Expected:
        rows = read_log(sandbox).sort_by([("partition", "ascending"), ("offset", "ascending")])
        segment_ms = sandbox.settings.segment_seconds * 1000
        ranges: dict[tuple[int, int], tuple[int, int]] = {}
        highest: dict[int, int] = {}
        keys = []
        stamps = rows["append_time"].cast(pa.int64()).to_pylist()
        for p, offset, stamp in zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), stamps, strict=True):
            highest[p] = max(highest.get(p, 0), stamp // 1000)
            keys.append((p, highest[p] // segment_ms * segment_ms))
            first, _ = ranges.get(keys[-1], (offset, offset))
            ranges[keys[-1]] = (first, offset + 1)
        numbers = {key: number for number, key in enumerate(ranges)}
        column = pa.array([numbers[key] for key in keys], pa.int64())
        results = Kernel(sandbox.domain).run(rows.append_column(PIECE, column), by=(PIECE,))
        states = {
            key: {
                view: results[view].filter(pa.compute.equal(results[view][PIECE], number)).drop_columns([PIECE])
                for view in sandbox.domain.stored_views
            }
            for key, number in numbers.items()
        }
        return Expected(ranges, states)

    return compute
