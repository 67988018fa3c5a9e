"""Proves every day that what is served equals a recompute from raw, and fails where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task_group

from dags.forms import TRIES, choose, domain_param
from dags.request import EVERY
from dags.submit import submit

DOC = """
### Is every number right?

For each domain **verify** recomputes every view from raw with the plain kernel, without marts, store, Spark or Beam,
and compares it, state for state, with what serving gives. It also counts raw's records against the log. The report is
kept in the lake, and the dashboard shows the newest.

A difference fails the task, and so sends the alert. Do not clear it away: the log says which rows differ. What helps
is mostly `rebuild_marts`, and a fix of what made the tile wrong.

It reads all of raw: run it when the machine has nothing else to do.
"""


def verify_arguments(domain: str, _context: Mapping[str, Any]) -> list[str]:
    return ["verify", "--domain", domain]


def tell_verification(report: Any) -> str:
    """How many rows were compared, for the task's label."""
    views = [view for domain in report["domains"] for view in domain["views"]]
    return f"{sum(view['rows_compared'] for view in views)} rows of {len(views)} views are right"


with DAG(
    dag_id="verify_views",
    description="Daily: recompute every view from raw and compare with what is served; a difference fails.",
    doc_md=DOC,
    schedule="30 3 * * *",
    catchup=False,
    max_active_runs=1,
    tags=["proof"],
    # A difference does not go away by looking again.
    default_args=TRIES | {"retries": 1},
    params={"domain": domain_param(f"Whose views are verified; {EVERY} for every domain, one by one.")},
) as dag:

    @task_group(prefix_group_id=False)
    def verify_domain(domain: Any) -> None:
        """One domain's views."""
        submit(
            task_id="verify",
            module="lake.cli",
            domain=domain,
            arguments=verify_arguments,
            spark=False,
            tell=tell_verification,
            execution_timeout=timedelta(hours=6),
            max_active_tis_per_dagrun=1,
            doc_md="`tidemark verify`: ends with 1 where anything differs.",
        )

    verify_domain.expand(domain=choose())
