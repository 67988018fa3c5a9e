"""One slice of the marts, built through Airflow as a person would have it built: triggered, followed, explained."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from lake.cuts import epoch_ms, format_time, from_ms, segment_start
from lake.serving import Serving
from local.airflow import BUILD, Airflow, Task
from local.errors import DemoFailed

EVERY = "*"
SLICE_SECONDS = 900


def build_slice(airflow: Airflow, servings: list[Serving], t1: datetime, tell: Callable[[str], None]) -> None:
    """Build [frontier, t1) of each domain through Airflow. Raises DemoFailed with the failed task and its log."""
    wait = (t1 - datetime.now(UTC)).total_seconds()
    if wait > 0:
        tell(f"waiting {wait:.0f} s for the slice's end, {format_time(t1)}")
        time.sleep(wait)
    frontier = min(mart.frontier for serving in servings for mart in serving.pin().marts.values())
    span = f"[{format_time(frontier)}, {format_time(t1)})"
    # Without t0 each view goes on from its own frontier, so a half-built slice is no obstacle.
    domain = servings[0].domain.name if len(servings) == 1 else EVERY
    run = airflow.trigger(BUILD, {"domain": domain, "t1": format_time(t1)})
    tell(f"slice {span}: Airflow runs {BUILD}")
    deadline, shown = time.monotonic() + SLICE_SECONDS, ""
    while (state := airflow.state(BUILD, run)) not in ("success", "failed"):
        tasks = airflow.tasks(BUILD, run)
        now = progress(tasks)
        if now != shown:
            tell(f"  {now}")
            shown = now
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"slice {span} is still {state} after {SLICE_SECONDS} s ({shown}): "
                f"look at {airflow.address}/dags/{BUILD}, and at `make status` and `tidemark logs scheduler`"
            )
        time.sleep(1)
    if state == "failed":
        raise DemoFailed(_explain(airflow, run, span))
    tell(f"slice {span}: built")


def next_boundary(t: datetime, segment_seconds: int) -> datetime:
    """The first segment boundary after `t`."""
    return from_ms(segment_start(epoch_ms(t), segment_seconds) + segment_seconds * 1000)


def progress(tasks: list[Task]) -> str:
    """`seal success, build running`; with how many domains where there are more than one."""
    counts = Counter((task.name, task.state) for task in tasks)
    return ", ".join(f"{name} {state}" + (f" x{n}" if n > 1 else "") for (name, state), n in counts.items())


def _explain(airflow: Airflow, run: str, span: str) -> str:
    failed = [task for task in airflow.tasks(BUILD, run) if task.state == "failed"]
    logs = "\n".join(f"task {task.label}, the end of its log:\n{airflow.log_tail(BUILD, run, task)}" for task in failed)
    return (
        f"slice {span} failed in {', '.join(task.label for task in failed) or 'no task'}.\n{logs}\n"
        f"The whole log is at {airflow.address}/dags/{BUILD}/runs/{run}. Everything is left running: "
        "once the cause is gone, the same again builds the slice"
    )
