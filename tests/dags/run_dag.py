"""Runs build_marts once for each parameter set on the command line, and prints what came of it.

One JSON document, last: for each run its state, its tasks' states, one a domain, and the extras of the asset events
that it emitted.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from airflow.models.asset import AssetEvent
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from dags.build_marts import dag


def run(conf: dict[str, str | None]) -> dict[str, object]:
    now = datetime.now(UTC)
    result = dag.test(run_after=now, logical_date=now, run_conf=conf)
    with create_session() as session:
        events = session.query(AssetEvent).filter(AssetEvent.source_run_id == result.run_id).all()
        emitted = [{"uri": event.asset.uri, "extra": event.extra} for event in events]
    tasks: dict[str, list[str]] = {}
    for instance in sorted(result.get_task_instances(), key=lambda each: each.map_index):
        tasks.setdefault(instance.task_id, []).append(str(instance.state))
    return {"state": str(result.state), "tasks": tasks, "events": emitted}


if __name__ == "__main__":
    for task in dag.tasks:
        task.retries = 0
    initdb()
    print(json.dumps([run(json.loads(conf)) for conf in sys.argv[1:]]))
