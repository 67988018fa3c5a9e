"""The whole path in one command: a backlog, live events, two batch slices, the merged answer, its proof.

It may be run again at any time: what runs is left running, a backlog that is there is not sent
again, and the next two slices are built from wherever the frontier is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lake.cuts import format_time
from lake.domain import Domain, load_domain
from lake.errors import BadSettings
from lake.log import Log
from lake.registry import live_domain
from lake.serving import Serving
from lake.settings import Settings
from local.airflow import BUILD, Airflow
from local.errors import DemoFailed
from local.parts import AIRFLOW, AIRFLOW_USER, SERVERS, producer
from local.provision import provision
from local.showcase import SHOWCASE
from local.slices import build_slice, next_boundary
from local.stack import Stack

BETWEEN_SLICES = timedelta(minutes=1)


def run_demo(stack: Stack, say: Callable[[str], None] = print) -> None:
    """Leaves the stack running, also when it raises: DemoFailed, PartFailed, PortTaken, DiskFull."""
    begun = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - begun:4.0f} s] {text}")

    tell("Kafka, MinIO, store: starting")
    stack.up(SERVERS)
    settings = stack.settings()
    domains = [load_domain(name, settings.domains_dir) for name in stack.domains]
    for domain in domains:
        provision(settings, domain)
    shown = [domain.name for domain in domains if domain.name in SHOWCASE]
    producers = [producer(name) for name in shown]
    layers = [name for name in stack.parts() if name in ("lander", "router", "speed")]
    tell("lander, speed layer, backlog, Airflow, dashboard: starting")
    stack.start(layers)
    # One after another, the first beside Airflow's start: all at once only get into each other's way.
    backlogs = (_start_backlog(stack, d.name, _missing_backlog(settings, d), tell) for d in domains if d.name in shown)
    first_backlog = next(backlogs, None)
    stack.start([*AIRFLOW, "dashboard"])
    _await_backlog(first_backlog)
    for backlog in backlogs:
        _await_backlog(backlog)
    stack.start([*producers, "canary"])
    _load_dimensions(stack, shown, 1, tell)
    first = next_boundary(datetime.now(UTC), settings.segment_seconds)
    stack.await_healthy([*layers, *AIRFLOW, "dashboard", *producers, "canary"])
    tell("everything serves; live events flow")

    address = stack.parts()["airflow"].address
    assert address is not None
    airflow = Airflow(address, AIRFLOW_USER, stack.variables()["TIDEMARK_AIRFLOW_PASSWORD"])
    airflow.unpause(BUILD, wait_seconds=90)
    servings = [Serving(settings, live_domain(settings, domain.name)) for domain in domains]
    build_slice(airflow, servings, first, tell)
    _load_dimensions(stack, shown, 2, tell)
    build_slice(airflow, servings, first + BETWEEN_SLICES, tell)
    tell("both slices are built; the merged views:")
    for serving in servings:
        if serving.domain.name in shown:
            _tidemark(stack, "sql", SHOWCASE[serving.domain.name].question)
        _show_freshness(serving, tell)
    tell("recomputing everything from raw to compare")
    for domain in domains:
        _tidemark(stack, "verify", "--domain", domain.name)
    tell(f"done; all of it goes on running, and {BUILD} builds slices on its schedule (`make down` stops it)")


def _missing_backlog(settings: Settings, domain: Domain) -> int:
    """How many events of the backlog the log does not have yet."""
    wanted = os.environ.get("TIDEMARK_DEMO_BACKLOG", str(SHOWCASE[domain.name].backlog))
    if not wanted.isdecimal():
        raise BadSettings(f"TIDEMARK_DEMO_BACKLOG={wanted!r}: a number of events, like 1000000")
    return max(0, int(wanted) - sum(Log(settings, domain).end().values()))


def _start_backlog(
    stack: Stack, domain: str, events: int, tell: Callable[[str], None]
) -> subprocess.Popen[bytes] | None:
    if not events:
        tell(f"the backlog of {domain} is there already")
        return None
    tell(f"backlog of {domain}: {events:,} events")
    command = ["streaming.produce", "--domain", domain, "--count", str(events), "--seed", "7"]
    return subprocess.Popen([sys.executable, "-m", *command], env=stack.environment(), stdin=subprocess.DEVNULL)


def _await_backlog(backlog: subprocess.Popen[bytes] | None) -> None:
    if backlog is not None and (code := backlog.wait()):
        raise DemoFailed(f"the backlog's producer ended with {code}; see above, then `make demo` again")


def _load_dimensions(stack: Stack, domains: list[str], version: int, tell: Callable[[str], None]) -> None:
    """Load a version of the dimension of each domain that has one, as a person would from a file."""
    for name in filter(None, (SHOWCASE[domain].dimension for domain in domains)):
        file = stack.home / f"{name}-{version}.csv"
        options = [name, "--version", str(version), "--output", str(file)]
        _run(stack, "streaming.events.dimension", *options)
        tell(f"dimension {name}: loading {file.name} while events flow")
        _tidemark(stack, "dimension", "load", name, str(file))


def _show_freshness(serving: Serving, tell: Callable[[str], None]) -> None:
    for view in serving.domain.views:
        answer = serving.answer(view)
        fresh = "no speed state yet"
        if answer.fresh_to:
            fresh = f"fresh to {(datetime.now(UTC) - answer.fresh_to).total_seconds():.1f} s ago"
        tell(f"{view}: {answer.merged.num_rows} rows, batch up to {format_time(answer.frontier)}, {fresh}")


def _tidemark(stack: Stack, *arguments: str) -> None:
    """Run the command line as a user would. Raises DemoFailed."""
    _run(stack, "lake.cli", *arguments)


def _run(stack: Stack, module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], env=stack.environment(), check=False)
    if done.returncode:
        raise DemoFailed(f"`{module} {arguments[0]}` ended with {done.returncode}; see above")
