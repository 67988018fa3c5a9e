"""`python -m local.prove`: the whole path of one domain, on a stack that runs wherever its settings say.

It sends events, if any are asked for, waits until the merged answers reach the log's end, lets Airflow build a slice of
them, and compares every number with a recompute from raw. Its last line is one JSON document; it exits with 1 if
anything differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import redis
import typer

from lake.domain import load_domain
from lake.errors import MissingCoverage, TidemarkError, exit_on_error
from lake.heads import Heads
from lake.log import Log
from lake.registry import live_domain
from lake.serving import Serving
from lake.settings import Settings, load_settings
from lake.verify import verify
from lake.waiting import wait_until
from local.airflow import BUILD, Airflow
from local.errors import DemoFailed
from local.slices import build_slice, next_boundary

_AWAY = (MissingCoverage, OSError, redis.RedisError)


def prove(settings: Settings, name: str, events: int, airflow: Airflow, wait_seconds: float) -> dict[str, object]:
    """What was sent, how long each layer took, and what the verification found. Raises DemoFailed."""
    declared = load_domain(name, settings.domains_dir)
    begun = time.monotonic()
    if events:
        _send(name, events)
    end = Log(settings, declared).end()
    sent = time.monotonic()
    tell(f"{events} events of {name} are sent; the log ends at {end}")

    heads = Heads(settings, declared)
    behind: list[str] = []

    def reached() -> bool | None:
        try:
            found = heads.now()
        except _AWAY as error:
            behind[:] = [str(error)]
            return None
        behind[:] = [view for view, head in found.items() if any(head.get(p, 0) < end[p] for p in end)]
        return None if behind else True

    wait_until(reached, wait_seconds, 0.2, lambda: DemoFailed(f"the speed layer did not reach {end}: {behind}"))
    fresh = time.monotonic()
    tell("the merged answers have them, by the speed layer")

    serving = Serving(settings, live_domain(settings, name))
    was_paused = airflow.paused().get(BUILD, True)
    airflow.unpause(BUILD, wait_seconds=wait_seconds)
    t1 = next_boundary(datetime.now(UTC), settings.segment_seconds)
    try:
        build_slice(airflow, [serving], t1, tell)
    finally:
        if was_paused:
            airflow.pause(BUILD)
    built = time.monotonic()

    report = verify(settings, live_domain(settings, name))
    short = [view.view for view in report.views if not view.from_batch] if report.raw_records else []
    problems = [*report.problems, *(f"no row of {view} is from batch" for view in short)]
    return {
        "ok": not problems,
        "domain": name,
        "events": events,
        "seconds": {
            "sent": round(sent - begun, 1),
            "speed": round(fresh - sent, 1),
            "batch": round(built - fresh, 1),
            "verify": round(time.monotonic() - built, 1),
        },
        "mismatches": sum(view.mismatches for view in report.views),
        "rows_compared": sum(view.rows_compared for view in report.views),
        "views": [{k: v for k, v in asdict(view).items() if k not in ("cut", "head")} for view in report.views],
        "problems": problems,
    }


def _send(domain: str, events: int) -> None:
    """As a producer of its own, with what every producer of ours does wrong."""
    command = [sys.executable, "-m", "streaming.produce", "--domain", domain, "--count", str(events)]
    command += ["--seed", str(time.time_ns() % 1_000_000_007)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise DemoFailed(f"the producer of {domain} ended with {done.returncode}; see above; --events 0 sends none")


def tell(text: str) -> None:
    print(f"[{datetime.now(UTC):%H:%M:%S}] {text}", file=sys.stderr, flush=True)


def main(
    airflow: Annotated[str, typer.Option(help="Its address.")],
    password_file: Annotated[Path, typer.Option(help="A file with the password of its user.")],
    user: str = "admin",
    domain: str = "shop",
    events: Annotated[int, typer.Option(min=0, help="How many invented ones are sent; they stay.")] = 2000,
    wait_seconds: Annotated[float, typer.Option(help="How long for the speed layer, and for Airflow's DAG.")] = 180,
) -> None:
    """Prove the whole path of one domain."""
    with exit_on_error():
        try:
            password = password_file.read_text().strip()
        except OSError as error:
            raise TidemarkError(f"--password-file {password_file}: {error.strerror}") from None
        found = prove(load_settings(), domain, events, Airflow(airflow, user, password), wait_seconds)
    print(json.dumps(found))
    if not found["ok"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
