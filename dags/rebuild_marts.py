"""Recomputes tiles that are there from raw: after a bug, or to be sure.

Invariant: each tile is replaced under its own cuts, so the tiles tile as before and a rebuild may be killed, repeated
or doubled; what was right stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task_group

from dags.forms import NAME, SETTINGS, TRIES, choose, domain_param, readable_domains, time_param
from dags.request import EVERY, BadRequest, read_range
from dags.submit import submit
from lake.cuts import format_time
from lake.settings import load_settings

DOC = """
### Every tile in [from, to), again from raw

For each domain that was chosen, **rebuild** recomputes its views' tiles in Spark and replaces each by the new one. The
log says which tiles came out otherwise than they were: those were wrong before. The task's label counts them.

| field | empty means |
| --- | --- |
| `domain` | `*`, every domain, one by one |
| `views` | all of them and the quarantine |
| `from`, `to` | from the first tile; up to the frontier |

Use it when a tile is suspected, or after a mend in the code that leaves definitions as they are. A **changed** view
has a mart of its own; `tidemark redefine` builds that. To build what was not built yet, use `build_marts`.
"""
VIEWS = sorted({view for domain in readable_domains(SETTINGS) for view in domain.stored_views})


def rebuild_arguments(domain: str, context: Mapping[str, Any]) -> list[str]:
    start, end = read_range(load_settings(), context)
    views = context["params"].get("views")
    if views and context["params"]["domain"] == EVERY:
        raise BadRequest(f"views={','.join(views)} needs a domain, for no two domains have the same views; choose one")
    options = {"--views": ",".join(views or ()), "--from": _text(start), "--to": _text(end)}
    return ["--domain", domain, *(part for name, text in options.items() if text for part in (name, text))]


def tell_rebuild(done: Any) -> str:
    """How many tiles there were and how many had been wrong, for the task's label."""
    return f"{len(done['tiles'])} tiles, {done['changed']} were wrong"


def _text(t: Any) -> str:
    return format_time(t) if t else ""


with DAG(
    dag_id="rebuild_marts",
    description="Recompute tiles of the marts from raw, each replaced under its own cuts.",
    doc_md=DOC,
    schedule=None,
    max_active_runs=1,
    tags=["batch", "marts", "manual"],
    default_args=TRIES,
    params={
        "domain": domain_param(f"Whose tiles are rebuilt; {EVERY} for every domain, one by one."),
        "views": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": NAME},
            examples=VIEWS,
            title="Views",
            description="Which of the domain's views; leave it empty for all of them and the quarantine.",
        ),
        "from": time_param("From", "Leave it empty to begin with the first tile."),
        "to": time_param("To (excluded)", "Leave it empty to go on to the frontier."),
    },
) as dag:

    @task_group(prefix_group_id=False)
    def rebuild_domain(domain: Any) -> None:
        """One domain's tiles."""
        submit(
            task_id="rebuild",
            module="jobs.rebuild_marts",
            domain=domain,
            arguments=rebuild_arguments,
            spark=True,
            tell=tell_rebuild,
            execution_timeout=timedelta(hours=12),
            max_active_tis_per_dagrun=1,
            doc_md="One Spark session for all tiles of the domain; tiles that views share are one pass over raw.",
        )

    rebuild_domain.expand(domain=choose())
