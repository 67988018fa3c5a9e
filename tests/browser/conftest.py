"""A browser, a shop whose events came in over the last hours, and an Airflow of its own at work on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from local.browser import set_up_browser
from local.stack import Stack
from tests.conftest import Sandbox
from tests.dags.past import airflow_of, land_past, last_ends, schedule, send_again
from tests.faults.parts import ROOT, Worker

HOURS = 2
SIZE = {"width": 1440, "height": 900}
PATIENCE_SECONDS = 60
"""How long a page may take to show what it is going to show."""


@dataclass(frozen=True)
class Operated:
    """A sandbox with past hours up to `ends`, its lander running, and the stack that operates it."""

    sandbox: Sandbox
    ends: list[datetime]
    stack: Stack

    def address(self, part: str) -> str:
        address = self.stack.parts()[part].address
        assert address is not None
        return address


@pytest.fixture(scope="package")  # not for the rest of the run: an Airflow takes a share of the machine
def operated(make_sandbox, stack, tools, tmp_path_factory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("operated")
    sandbox, ends = make_sandbox(partitions=2), last_ends(HOURS)
    send_again(sandbox, land_past(sandbox, ends))
    lander = Worker("streaming.land", sandbox.domain.name, sandbox.environment, folder / "lander.log")
    lander.start()
    try:
        with airflow_of(sandbox, stack, tools, folder, TIDEMARK_SCHEDULE=schedule(ends)) as own:
            yield Operated(sandbox, ends, own)
    finally:
        lander.kill()


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """Headless, for one module: while Playwright runs, nothing else in this thread can run an event loop."""
    terminal = pytestconfig.pluginmanager.getplugin("terminalreporter")
    program = set_up_browser(terminal.write_line if terminal else print)
    # Chromium refuses to sandbox itself for root; its pages are our own.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page of its own; what it showed last stays in the test's folder, last.png."""
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    context = browser.new_context(viewport=SIZE, timezone_id="UTC", locale="en-GB")
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    yield page
    page.screenshot(path=tmp_path / "last.png")
    context.close()


@pytest.fixture
def keep_screenshot() -> Callable[[Page, str], None]:
    """keep_screenshot(page, name): take docs/<name>.png anew if SCREENSHOTS is set; else a test changes no file."""

    def keep(page: Page, name: str) -> None:
        if os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(ROOT) / "docs" / f"{name}.png")

    return keep
