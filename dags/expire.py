"""Lets go of what is not needed any more, every day: old speed segments, replaced files, what nobody serves.

Invariant: nothing that the frontier does not cover is let go of.
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
### What is let go of

For each domain **expire** trims the speed segments that the marts cover, removes the generations of views that were
replaced, and the files of raw and marts that no version needs any more and that are older than `TIDEMARK_VACUUM_HOURS`.

It also asks whether Kafka is about to forget what raw or the marts do not hold yet, and fails loudly if so: then the
lander or `build_marts` has been standing still for too long. It never deletes anything in Kafka.
"""

with DAG(
    dag_id="expire",
    description="Daily: trim speed segments, vacuum raw and marts, check Kafka's retention.",
    doc_md=DOC,
    schedule="15 2 * * *",
    catchup=False,
    max_active_runs=1,
    tags=["upkeep"],
    default_args=TRIES,
    params={"domain": domain_param(f"Whose data; {EVERY} for every domain, one by one.")},
) as dag:

    @task_group(prefix_group_id=False)
    def expire_domain(domain: Any) -> None:
        """One domain's data."""
        submit(
            task_id="expire",
            module="jobs.expire",
            domain=domain,
            arguments=of_domain,
            spark=False,
            execution_timeout=timedelta(hours=2),
            max_active_tis_per_dagrun=1,
            doc_md="Says what it removed; refuses what the frontier does not cover.",
        )

    expire_domain.expand(domain=choose())
