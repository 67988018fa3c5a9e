"""How a DAG runs one of Tidemark's programs: in a process of the worker, or in a pod; the settings say which.

Invariant: a DAG names the program and its arguments, and the program's result is the task's XCom, whatever runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseOperator

from dags.dashboard_link import DashboardLink
from dags.program import Arguments
from dags.run_module import RunModule
from lake.settings import load_settings


def submit(
    *,
    task_id: str,
    module: str,
    domain: Any,
    arguments: Arguments,
    spark: bool,
    tell: Callable[[Any], str] | None = None,
    **options: Any,
) -> BaseOperator:
    """The operator of `python -m <module> <arguments> --json`.

    `domain`: what it works on, for its label, its alerts and `arguments`. `spark`: whether the program starts a Spark
    session, which in a pod gets executors of its own. `tell`: of the program's result, a few words for the label.
    """
    settings = load_settings()
    given = {
        "task_id": task_id,
        "module": module,
        "domain": domain,
        "arguments": arguments,
        "tell": tell,
        "map_index_template": "{{ task.summary }}",
        **options,
    }
    if settings.submit == "kubernetes":
        # Its imports cost every parse of a DAG a second.
        from dags.run_pod import RunPod

        operator: BaseOperator = RunPod(settings=settings, spark=spark, **given)
    else:
        operator = RunModule(**given)
    if settings.dashboard_url:
        operator.operator_extra_links = (DashboardLink(),)
    return operator
