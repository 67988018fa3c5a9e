"""Makes few files of many, every day: raw's of closed dates, and old tiles of the marts.

Invariant: what is read is the same before and after; a run that is killed or repeated loses nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task_group

from dags.forms import TRIES, choose, domain_param
from dags.program import of_domain
from dags.request import EVERY
from dags.submit import submit

DOC = """
### Few files instead of many

The lander commits to raw every second, and a build adds a tile to each mart. For each domain:

**compact_raw** rewrites the files of dates that are over and before every view's frontier: larger files, the same
records. It runs beside the lander.
**compact_marts** folds old tiles that adjoin into one, states merged. The newest stay as they are, so that their slices
can be run again; a folded slice is rebuilt as a whole, by `rebuild_marts`.

The old files stay until `expire` removes them, for readers that still hold them.
"""

with DAG(
    dag_id="compact_lake",
    description="Daily: raw's small files of closed dates become larger ones, old tiles are folded.",
    doc_md=DOC,
    schedule="15 1 * * *",
    catchup=False,
    max_active_runs=1,
    tags=["batch", "upkeep"],
    default_args=TRIES,
    params={"domain": domain_param(f"Whose files; {EVERY} for every domain, one by one.")},
) as dag:

    @task_group(prefix_group_id=False)
    def compact_domain(domain: Any) -> None:
        """One domain's files."""
        raw = submit(
            task_id="compact_raw",
            module="jobs.compact_raw",
            domain=domain,
            arguments=of_domain,
            spark=False,
            execution_timeout=timedelta(hours=4),
            max_active_tis_per_dagrun=1,
            doc_md="Larger files for raw's closed dates, by delta-rs.",
        )
        marts = submit(
            task_id="compact_marts",
            module="jobs.compact_marts",
            domain=domain,
            arguments=of_domain,
            spark=True,
            execution_timeout=timedelta(hours=4),
            max_active_tis_per_dagrun=1,
            doc_md="Tiles older than a day folded by day, older than a month by month; one commit a view.",
        )
        raw >> marts

    compact_domain.expand(domain=choose())
