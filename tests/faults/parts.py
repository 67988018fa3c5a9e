"""The parts of the whole path as processes that can be killed, and a query that watches what is served meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

from lake.cuts import Cut
from lake.kernel import encode
from lake.serving import Serving
from local.stack import Stack
from tests.faults.crash_points import CrashGate, Point

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
RATE = 1000
KILLS = int(os.environ.get("FAULT_KILLS", "30"))
"""At least so many, of the broker, the lander, the speed job, its runner and the store in turn."""
REACHED_SECONDS = 60
VIEWS = ["revenue_by_country_hour", "visitors_by_page_minute"]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 180) -> None:
    """Poll until true; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass
class Worker:
    """A process of the platform that is started again whenever it was killed, as a supervisor does."""

    module: str
    domain: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen | None = None
    kills: int = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, "--domain", self.domain],
            cwd=ROOT,
            env=self.environment,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill(self) -> None:
        """SIGKILL, to the process and whatever it has started, if it is alive."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.kills += 1
        self.process.wait()

    @property
    def name(self) -> str:
        return self.module

    def revive(self) -> None:
        """Start it if it has ended."""
        if self.process is None or self.process.poll() is not None:
            self.start()


@dataclass
class Runner:
    """The Beam runner below a speed job, which ends when that is killed."""

    speed: Worker
    kills: int = 0
    name = "prism"

    def kill(self) -> None:
        assert self.speed.process is not None
        runners = [p for p in psutil.Process(self.speed.process.pid).children(recursive=True) if p.name() == self.name]
        for runner in runners:
            runner.kill()
            self.kills += 1
        if runners:
            self.speed.process.wait(30)


@dataclass
class Server:
    """A server of a stack, which is started again: the store empty, the broker on its data."""

    stack: Stack
    name: str
    kills: int = 0

    def kill(self) -> None:
        psutil.Process(self.stack.supervisor.states()[self.name]["pid"]).kill()
        self.kills += 1


Victim = Worker | Runner | Server


@dataclass
class Killer:
    """Kills one of the parts: at a random moment, then at each of its gate's points, and so on in turn."""

    victim: Victim
    gate: CrashGate | None = None
    points: Sequence[Point] = ()
    landed: Counter[str] = field(default_factory=Counter)
    """SIGKILLs that landed, by where."""
    turn: int = 0

    def kill(self, chance: random.Random) -> None:
        point = [None, *self.points][self.turn % (1 + len(self.points))]
        self.turn += 1
        before = self.victim.kills
        if self.gate and point:
            self.gate.hold_at(point, REACHED_SECONDS)
        else:
            time.sleep(chance.uniform(0, 1.0))  # the moment of the kill is what is random here
        self.victim.kill()
        if self.gate:
            self.gate.release()
        self.landed[point.name if point else "at random"] += self.victim.kills - before


def run(environment: dict[str, str], module: str, *arguments: str, expect: int = 0) -> dict:
    """A command of the platform; its JSON document, which is the last thing on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == expect, f"{module} {arguments}: exit {done.returncode}\n{done.stderr[-3000:]}"
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith(("{", "[")) else {}


@dataclass(frozen=True)
class Given:
    """What is kept of an answer, its merged states encoded."""

    view: str
    frontier: datetime
    head: Cut
    definition_hash: str
    held: str | None
    merged: bytes


@dataclass
class Watch:
    """Asks these views in turn, again 100 ms after the last, and keeps each answer."""

    serving: Serving
    views: list[str]
    answers: list[Given] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    queries: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stop.wait(0.1):
            for view in self.views:
                self.queries += 1
                try:
                    answer = self.serving.answer(view)
                    told = (answer.frontier, answer.head, answer.definition_hash, answer.held)
                    self.answers.append(Given(view, *told, encode(answer.merged)))
                except Exception as error:  # whatever it is, the test shall see it
                    self.errors.append(f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


@dataclass
class Run:
    """What happened: every answer, the ledger, and where to look."""

    sandbox: object
    ledger: dict[tuple[int, int], dict] = field(default_factory=dict)
    watch: Watch | None = None
    workers: list[Worker] = field(default_factory=list)
    killers: list[Killer] = field(default_factory=list)
    builds: list[dict] = field(default_factory=list)
    t1: datetime | None = None

    @property
    def landed(self) -> int:
        """SIGKILLs that landed."""
        return sum(killer.landed.total() for killer in self.killers)

    def events_at(self, place: tuple[int, int]) -> dict | None:
        """The good event at (partition, offset); None for a bad record or a marker."""
        line = self.ledger.get(place)
        return line["event"] if line and line["kind"] == "good" else None

    def __repr__(self) -> str:
        return f"Run(seed={SEED})"


def advance(seen: Cut, head: Cut) -> list[tuple[int, int]]:
    """The (partition, offset) between two heads; moves `seen` on."""
    new = [(p, offset) for p, stop in head.items() for offset in range(seen.get(p, 0), stop)]
    seen |= head
    return new
