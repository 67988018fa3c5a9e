"""Loads new versions of dimensions, such as the users: every day from the sources that are set, or by hand.

Invariant: a version that was announced never changes; a run that is repeated loads one version more, of the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from dags.dimension_sources import NO_PASSWORD, Source, read_sources
from dags.forms import NAME, SETTINGS, TRIES, readable_domains
from dags.request import EVERY, BadRequest
from dags.submit import submit
from lake.errors import TidemarkError
from lake.settings import load_settings

DOC = """
### A new version of a dimension

**load** reads the whole table, checks it against every domain that joins it, writes it as a new version and announces
it in the log. It holds from the next segment of each partition on; earlier events keep the version of their time.

| run | loads |
| --- | --- |
| daily | every dimension that `TIDEMARK_DIMENSION_SOURCES` gives a source; not scheduled where that is empty |
| manual, `*` | the same |
| manual, one dimension | it, from `source`, or from its source in the settings if that is empty |

A source is a file that the worker can read (.csv, .parquet, .json, .jsonl) or `postgresql://user@host/database`.
The password is the worker's `PGPASSWORD`: never write one into the form, Airflow shows its forms to everybody.
"""
SOURCES = read_sources(SETTINGS.dimension_sources)
DIMENSIONS = sorted({name for domain in readable_domains(SETTINGS) for name in domain.dimensions})


def choose_names(sources: Mapping[str, Source], params: Mapping[str, Any]) -> list[str]:
    """The dimensions that a run loads. Raises BadRequest where it would load none, or not know from where."""
    name, source = params["dimension"], params.get("source")
    if name == EVERY and source:
        raise BadRequest(f"source={source} needs a dimension; choose one of {', '.join(DIMENSIONS)}")
    if name == EVERY and not sources:
        raise BadRequest("no dimension has a source; choose one and give its source, or set TIDEMARK_DIMENSION_SOURCES")
    if name != EVERY and not source and name not in sources:
        raise BadRequest(f"dimension={name} has no source; give one here or in TIDEMARK_DIMENSION_SOURCES")
    return sorted(sources) if name == EVERY else [name]


def load_arguments(name: str, context: Mapping[str, Any]) -> list[str]:
    params = context["params"]
    source = read_sources(load_settings().dimension_sources).get(name, Source(""))
    if params.get("source"):
        source = Source(params["source"])
    table = params.get("table") or source.table
    return ["dimension", "load", name, source.address, *(["--table", table] if table else [])]


def tell_version(loaded: Any) -> str:
    """Version and size, for the task's label."""
    return f"version {loaded['version']}, {loaded['rows']} rows"


@task(execution_timeout=timedelta(minutes=1))
def choose_dimensions() -> list[str]:
    """The dimensions that this run loads."""
    try:
        return choose_names(read_sources(load_settings().dimension_sources), get_current_context()["params"])
    except TidemarkError as error:
        raise AirflowFailException(str(error)) from None


with DAG(
    dag_id="load_dimensions",
    description="Load new versions of dimensions into the lake and announce them.",
    doc_md=DOC,
    schedule="15 0 * * *" if SOURCES else None,
    catchup=False,
    max_active_runs=1,
    tags=["dimensions"],
    default_args=TRIES,
    params={
        "dimension": Param(
            EVERY,
            type="string",
            enum=[EVERY, *DIMENSIONS],
            title="Dimension",
            description=f"Which one; {EVERY} for every one that has a source in the settings.",
        ),
        "source": Param(
            None,
            type=["null", "string"],
            pattern=NO_PASSWORD,
            title="Source",
            description="A file on the worker, or postgresql://user@host/database without a password. "
            "Leave it empty for the source in the settings.",
        ),
        "table": Param(
            None,
            type=["null", "string"],
            pattern=NAME,
            title="Table",
            description="The table in Postgres, such as public.customers; leave it empty for the dimension's own name.",
        ),
    },
) as dag:

    @task_group(prefix_group_id=False)
    def load_dimension(name: Any) -> None:
        """One dimension."""
        submit(
            task_id="load",
            module="lake.cli",
            domain=name,
            arguments=load_arguments,
            spark=False,
            tell=tell_version,
            execution_timeout=timedelta(hours=2),
            max_active_tis_per_dagrun=1,
            doc_md="`tidemark dimension load`: check, write, announce.",
        )

    load_dimension.expand(name=choose_dimensions())
