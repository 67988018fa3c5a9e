"""Builds slices of domains in one Spark session: `FILE {"domain": ..., "t1": ..., "dag": ...} ...`, in that order.

With "dag" as a run of a backfill does: build_marts says what the job is told, or that there is nothing to build.
Without it as somebody who builds one slice after the other. FILE gets a list: of each the job's arguments, or null.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pendulum
from airflow.sdk.exceptions import AirflowSkipException

from dags.build_marts import build_arguments, dag
from jobs import build_mart


def arguments_of(domain: str, t1: str, by_dag: bool) -> list[str] | None:
    if not by_dag:
        return ["--domain", domain, "--t1", t1]
    context = {
        "params": dag.params.dump(),
        "dag_run": SimpleNamespace(run_type="backfill"),
        "data_interval_end": pendulum.parse(t1),
    }
    try:
        return list(build_arguments(domain, context))
    except AirflowSkipException:
        return None


if __name__ == "__main__":
    file, *slices = sys.argv[1:]
    told = []
    for each in map(json.loads, slices):
        arguments = arguments_of(each["domain"], each["t1"], each["dag"])
        if arguments:
            sys.argv = [build_mart.__name__, *arguments, "--json"]
            build_mart.main()
        told.append(arguments)
    Path(file).write_text(json.dumps(told))
