"""Airflow's page in a browser: somebody logs in, backfills past slices of the marts and sees that they succeed.

And its API, which starts ten runs of a backfill at once where the page starts one.

The scheduler is killed in the middle of a build: the supervisor starts it again, and the runs succeed all the same.
"""

from __future__ import annotations

import os
import signal
from datetime import datetime
from itertools import pairwise

import httpx
from playwright.sync_api import Locator, Page, expect

from lake.cuts import format_time
from local.parts import AIRFLOW_USER
from local.stack import Stack
from tests.browser.conftest import PATIENCE_SECONDS
from tests.dags.past import DAG, HOUR, airflow_api, backfill_runs, check_tiles
from tests.faults.parts import wait_for

BUILT_SECONDS = 420


def test_a_backfill_from_the_page_builds_a_tile_for_each_past_slice(operated, page: Page, keep_screenshot) -> None:
    page.goto(f"{operated.address('airflow')}/dags/{DAG}")
    _log_in(page, operated.stack.variables()["TIDEMARK_AIRFLOW_PASSWORD"])
    page.get_by_test_id("trigger-dag-button").click()
    dialog = page.get_by_role("dialog").filter(has_text="Single Run")
    dialog.get_by_text("Backfill", exact=True).click()
    # A run belongs to the slice that starts at its date; both ends of the range count.
    for number, end in enumerate((operated.ends[0], operated.ends[-1])):
        _choose_time(page, dialog.get_by_test_id("datetime-input").nth(number), end - HOUR)
    expect(dialog.get_by_text(f"{len(operated.ends)} runs will be triggered.")).to_be_visible()
    dialog.get_by_role("button", name="Run Backfill").click()
    expect(page.get_by_text("Backfill generated")).to_be_visible()

    page.goto(f"{operated.address('airflow')}/dags/{DAG}/runs")
    runs = page.get_by_role("row").filter(has_text="backfill__")
    expect(runs).to_have_count(len(operated.ends))
    wait_for(lambda: _builds(operated.stack), "a build", PATIENCE_SECONDS)
    os.kill(operated.stack.supervisor.states()["scheduler"]["pid"], signal.SIGKILL)
    wait_for(lambda: _succeeded(runs), "the runs to succeed", BUILT_SECONDS)
    keep_screenshot(page, "airflow-backfill")
    page.goto(f"{operated.address('airflow')}/dags/{DAG}")
    expect(page.get_by_text("Failed Runs").first).to_be_visible()
    keep_screenshot(page, "airflow")
    assert check_tiles(operated.sandbox, operated.ends) > 0


def test_the_runs_of_a_backfill_go_one_after_another_though_all_are_started_at_once(operated) -> None:
    """Nor by the page, which starts one at a time because the DAG's schedule does."""
    asked = {
        "dag_id": DAG,
        "from_date": format_time(operated.ends[0] - HOUR),
        "to_date": format_time(operated.ends[-1] - HOUR),
        "reprocess_behavior": "completed",
    }
    with airflow_api(operated.stack) as client:
        replies: list[httpx.Response] = []

        def taken() -> bool:
            replies.append(client.post("/api/v2/backfills", json=asked))
            # The page's backfill is not yet seen to have ended, or SQLite was locked at that moment.
            return replies[-1].status_code not in (httpx.codes.CONFLICT, httpx.codes.SERVICE_UNAVAILABLE)

        wait_for(taken, "the backfill to be taken", PATIENCE_SECONDS)
        assert replies[-1].raise_for_status().json()["max_active_runs"] >= len(operated.ends)

        def ended() -> bool:
            states = [run["state"] for run in backfill_runs(client)]
            assert "failed" not in states, states
            return states == ["success"] * len(operated.ends)

        wait_for(ended, "the runs to succeed", BUILT_SECONDS)
        runs = backfill_runs(client)
        worked = [_worked(client, run["dag_run_id"]) for run in runs]
    for (one, other), (until, since) in zip(
        pairwise(runs), ((one[1], other[0]) for one, other in pairwise(worked)), strict=True
    ):
        assert other["start_date"] < one["end_date"]  # both had begun
        assert until <= since
    assert check_tiles(operated.sandbox, operated.ends) > 0


def _worked(client: httpx.Client, run_id: str) -> tuple[str, str]:
    """From when to when a run has sealed, built and published, in ISO 8601."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances"
    tasks = [task for task in client.get(path).json()["task_instances"] if task["task_id"] != "choose"]
    assert {task["task_id"] for task in tasks} == {"seal", "build", "publish"}
    return min(task["start_date"] for task in tasks), max(task["end_date"] for task in tasks)


def _builds(stack: Stack) -> bool:
    """Whether the log of a task says that it has come to Spark."""
    return any(
        "starting Spark" in log.read_text() for log in (stack.home / "airflow/logs").rglob("task_id=build/**/*.log")
    )


def _succeeded(runs: Locator) -> bool:
    """Whether every run did, as the page says, which looks again by itself."""
    said = runs.all_inner_texts()
    assert not any("Failed" in text for text in said), said
    return all("Success" in text for text in said)


def _log_in(page: Page, password: str) -> None:
    page.get_by_label("Username").fill(AIRFLOW_USER)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def _choose_time(page: Page, field: Locator, t: datetime) -> None:
    field.click()
    page.get_by_placeholder("YYYY/MM/DD").fill(f"{t:%Y/%m/%d}")
    page.get_by_placeholder("HH:mm").fill(f"{t:%H:%M}")
    field.click()
    expect(page.get_by_placeholder("HH:mm")).to_have_count(0)
