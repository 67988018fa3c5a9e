"""Whose turn it is: the runs of a backfill go one after another, oldest first, however many Airflow has started.

Airflow heeds a DAG's `max_active_runs` in schedules, not in backfills, whose own limit is 10 unless somebody says less.

Invariant: only order depends on it, never a number; marts are right if it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def run_before(context: Mapping[str, Any]) -> str | None:
    """The run that a backfill's run has to wait for: one of an earlier interval that has begun and not ended.

    None for other runs: a scheduled one need not wait, since its slice reaches back to the frontier.
    """
    if context["dag_run"].run_type != "backfill":
        return None
    earlier = context["ti"].get_previous_dagrun(state="running")
    return earlier.run_id if earlier else None
