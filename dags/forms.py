"""What the DAGs have in common: the domains there are, the fields of their forms, and how their tasks are tried.

Airflow's forms check no formats, but patterns: what cannot be is refused there, before there is a run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, get_current_context, task

from dags.alert import alert
from dags.request import EVERY, read_domains
from lake.domain import Domain, load_domain
from lake.errors import BadDomain
from lake.settings import Settings, load_settings

TIME = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?$"
NAME = r"^[A-Za-z_][A-Za-z0-9_.]*$"
SETTINGS = load_settings()
DOMAINS = sorted(path.stem for path in SETTINGS.domains_dir.glob("*.yaml") if SETTINGS.runs(path.stem))

TRIES: dict[str, Any] = {
    "owner": "tidemark",
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "retry_exponential_backoff": 4.0,
    "max_retry_delay": timedelta(minutes=15),
    "on_failure_callback": alert,
}
"""`default_args` of every DAG: tried again after 15 s and a minute, then the alert is sent."""


def domain_param(description: str) -> Param:
    """One domain, or all of them."""
    return Param(EVERY, type="string", enum=[EVERY, *DOMAINS], title="Domain", description=description)


def time_param(title: str, if_empty: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        pattern=TIME,
        title=title,
        description=f"{if_empty} A multiple of the segment length, UTC.",
    )


def readable_domains(settings: Settings) -> list[Domain]:
    """The domains whose files can be read; forms offer what these declare. `tidemark check` tells about the others."""
    found = []
    for name in DOMAINS:
        try:
            found.append(load_domain(name, settings.domains_dir))
        except BadDomain:
            continue
    return found


@task(execution_timeout=timedelta(minutes=1))
def choose() -> list[str]:
    """The domains that this run is about."""
    return read_domains(DOMAINS, get_current_context())
