"""Airflow's page in a browser: somebody logs in, backfills past slices of the marts and sees that they succeed.

The scheduler is killed in the middle of a build: the supervisor starts it again, and the runs succeed all the same.
"""

from __future__ import annotations

import os
import signal
from datetime import datetime

from playwright.sync_api import Locator, Page, expect

from local.parts import AIRFLOW_USER
from local.stack import Stack
from tests.browser.conftest import PATIENCE_SECONDS
from tests.dags.past import DAG, HOUR, check_tiles
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
