"""Builds one slice of the marts of each domain: seal the cut, build the tiles in Spark, publish the asset.

Invariant: whatever is run again, late or twice gives the same marts; what Airflow remembers decides nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    CronDataIntervalTimetable,
    PokeReturnValue,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException

from dags.forms import DOMAINS, TRIES, domain_param, time_param
from dags.request import EVERY, built_tiles, covered, read_domains, read_request, rebuilt
from dags.seal_cut import SealCut
from dags.submit import submit
from dags.turn import run_before
from lake.cuts import EPOCH, format_time, parse_time
from lake.registry import live_domain
from lake.settings import load_settings

DOC = """
### One slice of the marts of one domain, or of each

**choose** says which domains: the parameter `domain`, or all that run (`TIDEMARK_DOMAINS`). In a backfill it waits
until the runs before this one have ended. Then, for each domain:

**seal** makes cut(T) final: markers to every partition, awaited in raw.
**build** computes the slice in Spark and commits one tile a view.
**publish** tells Airflow: an event of the asset `marts/<domain>` with the frontiers and row counts.

One domain that fails stops no other; a rerun of its tasks, or of the run, builds what is missing.

| run | slice |
| --- | --- |
| scheduled | from each view's frontier to the end of the data interval |
| manual, no `t1` | from each view's frontier to the last segment boundary before it was triggered |
| manual, `t1` | from each view's frontier to `t1` |
| manual, `t0` and `t1` | exactly [`t0`, `t1`): the next slice, or the tiles that are there, which are rebuilt |

Run again, any of these replaces the tile that ends where its slice ends; with both times, every tile of the slice.
That is not the same where a slice has more than `TIDEMARK_TILE_EVENTS` offsets, for it becomes several tiles.
To compute tiles anew over a longer time use `rebuild_marts`.

Nothing is lost between runs: a slice starts where the tiles end, however long ago that was.

So the runs of a backfill get a tile each, however many were started at once. A scheduled run does not wait: one that
comes meanwhile builds all that is left before it, and the backfill's runs of that time find nothing to build.
"""

logger = logging.getLogger("airflow.task")
MARTS = AssetAlias("marts")
SCHEDULE = os.environ.get("TIDEMARK_SCHEDULE", "0 * * * *")
# Since when each interval of the schedule gets a tile of its own. Without it the schedule begins with the newest one,
# whose slice reaches back to the beginning of the log; that is as complete, only coarser.
SCHEDULE_START = os.environ.get("TIDEMARK_SCHEDULE_START")


@task.sensor(
    mode="reschedule",
    poke_interval=timedelta(seconds=10).total_seconds(),
    exponential_backoff=True,
    max_wait=timedelta(minutes=2),
    timeout=timedelta(days=1).total_seconds(),
    execution_timeout=timedelta(minutes=1),
)
def choose() -> PokeReturnValue:
    """The domains that this run is about, once it is its turn. Waits without holding a worker."""
    context = get_current_context()
    if before := run_before(context):
        logger.info("not yet: %s comes before this run and has not ended", before)
        return PokeReturnValue(False)
    return PokeReturnValue(True, read_domains(DOMAINS, context))


def build_arguments(domain: str, context: Mapping[str, Any]) -> list[str]:
    settings = load_settings()
    request = read_request(settings, context)
    t0 = request.t0
    if t0 is None:
        tiles = built_tiles(settings, live_domain(settings, domain))
        if covered(tiles, request.t1):
            raise AirflowSkipException(f"everything before {format_time(request.t1)} is in longer tiles already")
        t0 = rebuilt(tiles, request.t1)
    start = ["--t0", format_time(t0)] if t0 else []
    return ["--domain", domain, *start, "--t1", format_time(request.t1)]


def tell_build(built: Any) -> str:
    """The slice and its size, for the task's label."""
    views = built["views"]
    if not views:
        return "nothing to build"
    start, end = min(view["t0"] for view in views), max(view["t1"] for view in views)
    return f"[{start}, {end}), {sum(view['rows'] for view in views)} rows of {views[0]['events']} events"


@task(outlets=[MARTS], execution_timeout=timedelta(minutes=5))
def publish(built: Any, *, outlet_events: Any = None) -> None:
    """Emit the asset's event. Stores nothing: frontiers are read from the marts, counts come from the build."""
    settings = load_settings()
    name = built["domain"]
    tiles = built_tiles(settings, live_domain(settings, name))
    frontiers = {view: format_time(run[-1].t1 if run else EPOCH) for view, run in tiles.items()}
    for view in built["views"]:
        logger.info(
            "%s: %s [%s, %s), %d rows of %d events; %s",
            *(view[key] for key in ("view", "action", "t0", "t1", "rows", "events")),
            # The version of the domain that is live may have changed since it was built.
            f"frontier {frontiers[view['view']]}" if view["view"] in frontiers else "not in the live version any more",
        )
    extra = {
        "frontier": frontiers,
        "rows": {view["view"]: view["rows"] for view in built["views"]},
        "tiles": built["views"],
    }
    outlet_events[MARTS].add(Asset(f"marts/{name}", uri=settings.table_uri("marts", name)), extra=extra)


with DAG(
    dag_id="build_marts",
    description="For each domain seal a cut, build one slice of its marts in Spark, publish the asset.",
    doc_md=DOC,
    schedule=CronDataIntervalTimetable(SCHEDULE, timezone="UTC"),
    start_date=parse_time(SCHEDULE_START) if SCHEDULE_START else None,
    catchup=SCHEDULE_START is not None,
    max_active_runs=1,
    tags=["batch", "marts"],
    default_args=TRIES,
    params={
        "domain": domain_param(
            f"Whose views are built, all of them and the quarantine; {EVERY} for every domain, one by one."
        ),
        "t0": time_param("T0, the slice's start", "Leave it empty to go on from each view's frontier."),
        "t1": time_param("T1, the slice's end (excluded)", "Leave it empty to build up to now."),
    },
) as dag:

    @task_group(prefix_group_id=False)
    def build_slice(domain: Any) -> None:
        """One domain's slice."""
        seal = SealCut(
            task_id="seal",
            domain=domain,
            execution_timeout=timedelta(minutes=3),
            map_index_template="{{ task.domain }}",
            doc_md="Make cut(T) final: a marker in every partition, awaited in raw. Waits without holding a worker.",
        )
        build = submit(
            task_id="build",
            module="jobs.build_mart",
            domain=domain,
            arguments=build_arguments,
            spark=True,
            tell=tell_build,
            execution_timeout=timedelta(hours=2),
            max_active_tis_per_dagrun=1,
            doc_md="Compute the slice in one Spark session; each view's tile and manifest are one commit.",
        )
        seal >> build >> publish(build.output)

    build_slice.expand(domain=choose())
