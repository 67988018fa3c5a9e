"""One run of the whole path while it is killed again and again; the tests then look at what happened.

The ledger is what the brokers acknowledged to the producers: the oracle, which no code of the platform has touched.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lake.cuts import format_time, from_ms, segment_start
from lake.log import MAX_VALUE_BYTES, Log
from lake.raw import Raw
from lake.serving import Serving
from local.stack import Stack
from streaming.produce import EventProducer
from tests.conftest import running
from tests.faults.crash_points import LANDING, STORING, CrashGate
from tests.faults.parts import KILLS, RATE, ROOT, SEED, VIEWS, Killer, Run, Runner, Server, Watch, Worker, run, wait_for


@pytest.fixture(scope="session")
def broker(tools, tmp_path_factory) -> Iterator[Stack]:
    """A Kafka of these tests' own, since it is killed."""
    with running(tools, tmp_path_factory.mktemp("broker"), ["kafka"]) as broker:
        yield broker


@pytest.fixture(scope="session")
def happened(make_sandbox, stack, broker, tmp_path_factory) -> Iterator[Run]:
    print(f"\nTEST_SEED={SEED}")
    chance = random.Random(SEED)
    folder = tmp_path_factory.mktemp("faults")
    bootstrap = broker.settings().kafka_bootstrap
    sandbox = make_sandbox(kafka_bootstrap=bootstrap, land_interval_seconds=0.5, seal_timeout_seconds=180)
    name, environment = sandbox.domain.name, sandbox.environment
    result = Run(sandbox)
    url = sandbox.settings.store_url.get_secret_value()
    lake, store = CrashGate(sandbox.settings.s3_endpoint), CrashGate(url)
    through_gate = urlsplit(url)._replace(netloc=f"{urlsplit(url).netloc.rpartition('@')[0]}@{store.address}").geturl()
    result.workers = [
        Worker("streaming.land", name, environment | {"TIDEMARK_S3_ENDPOINT": lake.endpoint}, folder / "land.log"),
        Worker(
            "streaming.speed",
            name,
            environment | {"TIDEMARK_STORE_URL": through_gate},
            folder / "speed.log",
        ),
    ]
    lander, speed = result.workers
    # The broker is first, since whoever is killed next waits until events flow again.
    result.killers = [Killer(Server(broker, "kafka")), Killer(lander, lake, LANDING)]
    result.killers += [Killer(victim, store, STORING) for victim in (speed, Runner(speed), Server(stack, "store"))]
    for worker in result.workers:
        worker.start()
    result.watch = Watch(Serving(sandbox.settings, sandbox.domain), VIEWS)
    shares = ["--late", "0.1", "--duplicates", "0.05", "--malformed", "0.05"]
    options = ["--like", "shop", "--seed", str(SEED), "--rate", str(RATE), "--ledger", str(folder / "ledger.jsonl")]
    producer = subprocess.Popen(
        [sys.executable, "-m", "streaming.produce", "--domain", name, *options, *shares],
        cwd=ROOT,
        env=environment,
        stderr=(folder / "produce.log").open("w"),
    )
    try:
        _send_at_the_limit(sandbox, folder / "limit.jsonl")
        _kill_while_it_goes_on(result, chance, share=0.4)
        first = _next_boundary(sandbox)
        result.builds.append(_build(sandbox, first))
        _kill_while_it_goes_on(result, chance, share=0.3)
        second = _next_boundary(sandbox)
        result.builds.append(_build(sandbox, second))
        for _ in range(2):
            result.builds.append(_build(sandbox, first, t0="1970-01-01T00:00:00Z"))
        result.t1 = second
        _kill_while_it_goes_on(result, chance, share=0.3)
        producer.terminate()
        assert producer.wait(60) == 0, (folder / "produce.log").read_text()[-2000:]
        _await_the_end(result)
    finally:
        producer.kill()
        result.watch.stop()
        lake.close()
        store.close()
        for worker in result.workers:
            if worker.process and worker.process.poll() is None:
                worker.process.terminate()
                worker.process.wait(30)
    for file in ("ledger.jsonl", "limit.jsonl"):
        for line in (folder / file).read_text().splitlines():
            told = json.loads(line)
            result.ledger[(told["partition"], told["offset"])] = told
    yield result


def _send_at_the_limit(sandbox, ledger: Path) -> None:
    """Events whose values have the largest size allowed, and one byte less."""
    with ledger.open("w") as file:
        producer = EventProducer(sandbox.settings, sandbox.domain.topic, file)
        for number, size in enumerate([MAX_VALUE_BYTES, MAX_VALUE_BYTES - 1] * 3):
            event = {"event_id": f"large-{number}", "event_type": "order", "event_time": 1_795_000_000_000}
            event |= {"user_id": f"u{number}", "country": "XL", "amount": "1.00", "note": ""}
            bare = len(json.dumps(event).encode())
            value = json.dumps(event | {"note": "x" * (size - bare)}).encode()
            assert len(value) == size
            producer.send(b"large-%d" % number, value, "good")
        producer.close()


def _kill_while_it_goes_on(result: Run, chance: random.Random, share: float) -> None:
    """SIGKILL each in turn while events flow; something must have been done in between.

    A victim may have died of the last kill already, so rounds go on until this share of the kills has landed.
    """
    goal = result.landed + math.ceil(KILLS * share)
    while result.landed < goal:
        for killer in result.killers:
            before = _progress(result)
            for worker in result.workers:
                worker.revive()
            wait_for(lambda before=before: _progress(result) > before, "progress after a kill")
            killer.kill(chance)


def _progress(result: Run) -> int:
    """How many events are counted in the newest answer."""
    answers = result.watch.answers
    return sum(answers[-1].head.values()) if answers else 0


def _next_boundary(sandbox) -> datetime:
    seconds = sandbox.settings.segment_seconds
    now_ms = time.time_ns() // 1_000_000
    return from_ms(segment_start(now_ms, seconds) + seconds * 1000)


def _build(sandbox, t1: datetime, t0: str | None = None) -> dict:
    arguments = ["--domain", sandbox.domain.name]
    run(sandbox.environment, "lake.cli", "seal", *arguments, "--at", format_time(t1), "--json")
    arguments += ["--t1", format_time(t1), "--json"] + (["--t0", t0] if t0 else [])
    return run(sandbox.environment, "jobs.build_mart", *arguments)


def _await_the_end(result: Run) -> None:
    for worker in result.workers:
        worker.revive()
    end = Log(result.sandbox.settings, result.sandbox.domain).end()
    raw = Raw(result.sandbox.settings, result.sandbox.domain)
    raw.await_positions(end, 120)
    watch = result.watch
    wait_for(lambda: all(a.head == end for a in watch.answers[-2:]), f"the head to reach {end}", 120)
