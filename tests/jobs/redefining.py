"""A live domain of two views whose definition is changed while it is landed, batched, streamed and asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import yaml

from lake.cuts import format_time, from_ms, segment_start
from lake.domain import load_domain
from lake.live import LiveServing
from lake.log import Log
from lake.raw import Raw
from lake.registry import Registry
from tests.conftest import Sandbox
from tests.faults.parts import ROOT, SEED, Watch, Worker, run, wait_for

REVENUE, VISITS = "revenue", "visits"
VIEWS = [REVENUE, VISITS]
RATE = 400
WHERE = ("event_type = 'order'", "event_type = 'order' AND amount >= 40")
MINIMUM = (Decimal(0), Decimal(40))
"""What the first and the second definition of the view ask of an order."""


def declare(sandbox: Sandbox, where: str) -> None:
    """Write the domain's file: two views over the sandbox's fields, one of them with this condition."""
    path = sandbox.settings.domains_dir / f"{sandbox.domain.name}.yaml"
    content = yaml.safe_load(path.read_text())
    kept = ("domain", "topic", "partitions", "event_time", "fields")
    revenue = {"where": where, "group_by": {"country": "country"}, "measures": {"revenue": {"sum": "amount"}}}
    visits = {"where": "event_type = 'page_view'", "group_by": {"country": "country"}, "measures": {"visits": "count"}}
    content = {key: content[key] for key in kept} | {"views": {REVENUE: revenue, VISITS: visits}}
    content["views"][REVENUE]["measures"]["orders"] = "count"
    path.write_text(yaml.safe_dump(content, sort_keys=False))


class Plain:
    """Both views in plain Python, under one of the two definitions, as the kernel has their states."""

    def __init__(self, minimum: Decimal) -> None:
        self._minimum = minimum
        self._revenue: dict[str, list] = {}
        self._visits: dict[str, int] = {}

    def add(self, event: dict) -> None:
        country = event["country"]
        if event["event_type"] == "page_view":
            self._visits[country] = self._visits.get(country, 0) + 1
        if event["event_type"] == "order" and Decimal(str(event["amount"])) >= self._minimum:
            state = self._revenue.setdefault(country, [Decimal(0), 0])
            state[0] += Decimal(str(event["amount"]))
            state[1] += 1

    def states(self, view: str) -> dict[str, tuple]:
        if view == VISITS:
            return {country: (count,) for country, count in self._visits.items()}
        return {country: tuple(state) for country, state in self._revenue.items()}


class Redefining:
    """The running platform, and what a person does to it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.folder = folder
        declare(sandbox, WHERE[0])
        name = sandbox.domain.name
        self.sandbox = Sandbox(sandbox.settings, load_domain(name, sandbox.settings.domains_dir))
        Registry(sandbox.settings).declare(self.sandbox.domain)
        self._arguments = ["--domain", name]
        parts = ("streaming.land", "streaming.speed")
        self._workers = [Worker(part, name, sandbox.environment, folder / f"{part}.log") for part in parts]
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self.watch = Watch(LiveServing(sandbox.settings, self.sandbox.domain), VIEWS)
        self.slices: list[datetime] = []
        self.told: dict = {}

    def _supervise(self) -> None:
        while not self._stop.wait(0.1):
            for worker in self._workers:
                worker.revive()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The lander and the speed layer under a supervisor, and a producer; the query every 100 ms is on already."""
        self._supervisor.start()
        options = ["--like", "shop", "--seed", str(SEED), "--rate", str(RATE), "--late", "0.1", "--malformed", "0.05"]
        with (self.folder / "produce.log").open("w") as log:
            producer = subprocess.Popen(
                [sys.executable, "-m", "streaming.produce", *self._arguments, *options, "--ledger", str(self.ledger)],
                cwd=ROOT,
                env=self.sandbox.environment,
                stderr=log,
            )
        try:
            wait_for(lambda: self.counted() > 0, "first answers")
            yield
            producer.terminate()
            assert producer.wait(60) == 0, (self.folder / "produce.log").read_text()[-2000:]
            self.end = Log(self.sandbox.settings, self.sandbox.domain).end()
            wait_for(lambda: all(a.head == self.end for a in self.watch.answers[-2:]), "the head at the end", 120)
            Raw(self.sandbox.settings, self.sandbox.domain).await_positions(self.end, 120)  # for verify
        finally:
            producer.kill()
            self.watch.stop()
            self._stop.set()
            self._supervisor.join()
            for worker in self._workers:
                worker.kill()

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def counted(self) -> int:
        """How many events are counted in the newest answer."""
        return sum(self.watch.answers[-1].head.values()) if self.watch.answers else 0

    def build(self) -> dict:
        """Seal the next boundary and build the live version up to it."""
        seconds = self.sandbox.settings.segment_seconds
        t1 = from_ms(segment_start(time.time_ns() // 1_000_000, seconds) + seconds * 1000)
        self.slices.append(t1)
        run(self.sandbox.environment, "lake.cli", "seal", *self._arguments, "--at", format_time(t1))
        return run(self.sandbox.environment, "jobs.build_mart", *self._arguments, "--t1", format_time(t1), "--json")

    def redefine_and_kill(self, at: str) -> str:
        """Begin, SIGKILL with all that it has started as soon as it says `at`; what it said."""
        process = subprocess.Popen(
            [sys.executable, "-m", "lake.cli", "redefine", self.sandbox.domain.name],
            cwd=ROOT,
            env=self.sandbox.environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said = ""
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if at in line:
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        assert at in said, said
        return said

    def redefine(self) -> dict:
        return run(self.sandbox.environment, "lake.cli", "redefine", self.sandbox.domain.name, "--json")

    def verify(self) -> dict:
        [report] = run(self.sandbox.environment, "lake.cli", "verify", *self._arguments, "--json")["domains"]
        return report

    def goes_on(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Wait until more is counted, and the condition holds."""
        before = self.counted()
        wait_for(lambda: self.counted() > before and condition(), "answers that go on")
