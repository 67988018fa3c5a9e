"""Erases a subject from raw and from what was made of it, on request: the one change of raw that is allowed.

Invariant: without `dry_run` being taken away nothing is erased; a run that was killed is simply run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from dags.forms import DOMAINS, TRIES, time_param
from dags.request import read_time
from dags.submit import submit
from lake.cuts import format_time
from lake.settings import load_settings

DOC = """
### Erase a subject

Every record of the domain whose `field` equals `value` loses its key, value and headers in raw; offsets and append
times stay, so cuts and counts stay right. The tiles that it touched are rebuilt, old files are removed, and the
subject's absence is proved; the erasure and its reason are logged in the lake, the value is not.

1. Run it with **dry run** on, and read in the log what would be erased.
2. Build up to now (`build_marts`), so that the speed layer holds nothing of the subject; where it goes on sending
   events, say in **before** up to when they are erased.
3. Run it with **dry run** off. It cannot be undone.
4. Delete both runs in Airflow: it keeps the fields of its forms, and so the value.

Kafka keeps its bytes until the topic's retention has passed. Dimension tables are not touched.
"""


def forget_arguments(domain: str, context: Mapping[str, Any]) -> list[str]:
    params = context["params"]
    # In one word each, or a reason that begins with a dash would be taken for an option.
    said = [f"--where={params['field']}={params['value']}", f"--reason={params['reason']}"]
    if before := read_time(load_settings(), "before", params.get("before")):
        said.append(f"--before={format_time(before)}")
    return ["--domain", domain, *said, *(["--dry-run"] if params["dry_run"] else [])]


def tell_erasure(done: Any) -> str:
    """How many records it was about, for the task's label."""
    return f"{done['records']} records {'would be erased' if done['dry_run'] else 'are erased'}"


with DAG(
    dag_id="forget",
    description="Erase a subject from raw and rebuild what it touched. Manual; a dry run unless told otherwise.",
    doc_md=DOC,
    schedule=None,
    max_active_runs=1,
    tags=["manual", "privacy"],
    default_args=TRIES,
    params={
        "domain": Param(type="string", enum=DOMAINS, title="Domain", description="Whose records."),
        "field": Param(
            type="string",
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            title="Field",
            description="The field that names the subject, as the domain declares it, such as user_id; or key.",
        ),
        "value": Param(type="string", minLength=1, title="Value", description="The subject, exactly as in the events."),
        "reason": Param(
            type="string",
            minLength=3,
            maxLength=500,
            title="Reason",
            description="Kept beside what was erased, for whoever asks. No personal data.",
        ),
        "before": time_param(
            "Before", "Leave it empty to erase everything; then all of the subject's events must be in the marts."
        ),
        "dry_run": Param(True, type="boolean", title="Dry run", description="Only say what would be erased."),
    },
) as dag:
    submit(
        task_id="forget",
        module="jobs.forget",
        domain="{{ params.domain }}",
        arguments=forget_arguments,
        spark=True,
        tell=tell_erasure,
        execution_timeout=timedelta(hours=12),
        doc_md="Erase, rebuild, vacuum, prove. Killed at any point it is run again and completes.",
    )
