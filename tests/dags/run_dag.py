"""Runs a DAG once for each set of parameters on the command line, and prints what came of it.

Each argument is a JSON object of parameters; "dag" names another DAG than build_marts, or a module. One JSON document,
last: for each run its state, its tasks' states and labels, one a domain, their results, and the asset events that it
emitted.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from airflow.models.asset import AssetEvent
from airflow.sdk import DAG
from airflow.utils.db import initdb
from airflow.utils.session import create_session


def run(dag: DAG, conf: dict[str, Any]) -> dict[str, object]:
    began, now = time.monotonic(), datetime.now(UTC)
    for task in dag.tasks:
        task.retries = 0
    result = dag.test(run_after=now, logical_date=now, run_conf=conf)
    print(f"{dag.dag_id}: {result.state} after {time.monotonic() - began:.1f} s", file=sys.stderr)
    with create_session() as session:
        events = session.query(AssetEvent).filter(AssetEvent.source_run_id == result.run_id).all()
        emitted = [{"uri": event.asset.uri, "extra": event.extra} for event in events]
    tasks: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    results: dict[str, list[Any]] = {}
    for instance in sorted(result.get_task_instances(), key=lambda each: each.map_index):
        tasks.setdefault(instance.task_id, []).append(str(instance.state))
        labels.setdefault(instance.task_id, []).append(instance.rendered_map_index)
        told = instance.xcom_pull(task_ids=instance.task_id, map_indexes=instance.map_index)
        results.setdefault(instance.task_id, []).append(told)
    return {"state": str(result.state), "tasks": tasks, "labels": labels, "results": results, "events": emitted}


if __name__ == "__main__":
    initdb()
    outcomes = []
    for argument in sys.argv[1:]:
        conf = json.loads(argument)
        name = conf.pop("dag", "build_marts")
        outcomes.append(run(import_module(name if "." in name else f"dags.{name}").dag, conf))
    print(json.dumps(outcomes))
