"""The dashboard in a browser: a chart of what is merged is drawn, and nothing on the page has failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from dashboard.charts import BATCH_COLOUR, SPEED_COLOUR
from lake.cuts import covers, format_time
from lake.errors import MissingCoverage
from lake.kernel import Kernel
from lake.log import Log
from lake.marts import built_tiles
from lake.serving import Serving
from tests.browser.conftest import Operated
from tests.faults.parts import Worker, run, wait_for

VIEW = "revenue_by_country_hour"


@pytest.fixture
def shown(operated: Operated, tmp_path) -> Iterator[Operated]:
    """With its marts built, unless they are, its speed view up to the end of the log, and the dashboard up."""
    sandbox, ends = operated.sandbox, operated.ends
    name, environment = sandbox.domain.name, sandbox.environment
    if not built_tiles(sandbox.settings, name, VIEW, Kernel(sandbox.domain).definition_hash(VIEW)):
        t1 = format_time(ends[-1])
        run(environment, "lake.cli", "seal", "--domain", name, "--at", t1)
        run(environment, "jobs.build_mart", "--domain", name, "--t1", t1)
    speed = Worker("streaming.speed", name, environment, tmp_path / "speed.log")
    speed.start()
    try:
        operated.stack.up(["dashboard"])
        serving, log = Serving(sandbox.settings, sandbox.domain), Log(sandbox.settings, sandbox.domain)
        wait_for(lambda: _reaches(serving, log), "the speed view reaches the end of the log")
        yield operated
    finally:
        speed.kill()


def _reaches(serving: Serving, log: Log) -> bool:
    try:
        return covers(serving.answer(VIEW).head, log.end())
    except MissingCoverage:
        return False


def test_the_shops_page_draws_merged_charts_and_shows_no_error(shown: Operated, page: Page, keep_screenshot) -> None:
    page.goto(shown.address("dashboard"))
    expect(page.get_by_role("heading", name="Revenue by country hour")).to_be_visible()
    expect(page.get_by_text("with a batch part").first).to_be_visible()
    chart = page.get_by_test_id("stVegaLiteChart").first
    for colour in (BATCH_COLOUR, SPEED_COLOUR):
        expect(chart.locator(f".role-mark path[fill='{colour}']").first).to_be_visible()
    for failure in ("stException", "stAlertContentError", "stAlertContentWarning"):
        expect(page.get_by_test_id(failure)).to_have_count(0)
    keep_screenshot(page, "dashboard")
