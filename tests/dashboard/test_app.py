"""The page over real servers: what it shows is what is served, and what is missing is a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import streamlit as st
from pydantic import SecretStr
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from lake.cuts import count, covers, epoch_ms, format_time, from_ms, segment_start
from lake.domain import load_domain
from lake.errors import MissingCoverage
from lake.log import Log
from lake.serving import Serving
from lake.settings import Settings
from lake.verifications import Verifications
from tests.conftest import Sandbox
from tests.faults.parts import Worker, run, wait_for

APP = Path(__file__).parents[2] / "dashboard/app.py"
VIEW = "revenue_by_country_hour"
SECONDS = 60


@pytest.fixture(scope="module")
def served(make_sandbox, tmp_path_factory) -> Iterator[Sandbox]:
    """A domain of which some events are in a tile and some in the speed view; nothing moves any more."""
    sandbox = make_sandbox(partitions=2)
    name, environment = sandbox.domain.name, sandbox.environment
    logs = tmp_path_factory.mktemp("logs")
    workers = [Worker(f"streaming.{part}", name, environment, logs / part) for part in ("land", "speed")]
    events = ["streaming.produce", "--domain", name, "--like", "shop", "--count"]
    try:
        for worker in workers:
            worker.start()
        run(environment, *events, "1500")
        t1 = format_time(from_ms(segment_start(epoch_ms(datetime.now(UTC)), 10) + 10_000))
        run(environment, "lake.cli", "seal", "--domain", name, "--at", t1)
        run(environment, "jobs.build_mart", "--domain", name, "--t1", t1)
        run(environment, *events, "500", "--seed", "2")
        serving, log = Serving(sandbox.settings, sandbox.domain), Log(sandbox.settings, sandbox.domain)
        wait_for(lambda: _reaches(serving, log), "the speed view reaches the end of the log")
        yield sandbox
    finally:
        for worker in workers:
            worker.kill()


def _reaches(serving: Serving, log: Log) -> bool:
    try:
        return covers(serving.answer(VIEW).head, log.end())
    except MissingCoverage:
        return False


def _page(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    st.cache_resource.clear()
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return AppTest.from_file(str(APP), default_timeout=SECONDS).run()


def _button(page: AppTest, label: str) -> Button:
    return next(button for button in page.button if button.label == label)


def test_the_page_shows_the_merged_values_by_layer_the_frontier_and_the_head(served, monkeypatch):
    page = _page(served, monkeypatch)
    assert not page.exception and not page.error and not page.warning
    serving = Serving(served.settings, served.domain)
    answer = serving.answer(VIEW)
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["Frontier (UTC)"] == f"{answer.frontier:%H:%M:%S}"
    assert shown["Events in batch"] == f"{count({}, answer.cut):,}" != "0"
    assert shown["Events in speed"] == f"{count(answer.cut, answer.head):,}" != "0"
    assert shown["Newest event"].endswith("ago")

    table = page.dataframe[0].value
    layers = {"": answer.merged, " batch": answer.batch, " speed": answer.speed}
    for suffix, states in layers.items():
        assert len(states) > 0
        assert table[f"revenue{suffix}"].sum() == sum(serving.present(VIEW, states)["revenue"].to_pylist())
    captions = " ".join(caption.value for caption in page.caption)
    assert f"{len(answer.batch):,} with a batch part, {len(answer.speed):,} with a speed part" in captions
    assert format_time(answer.frontier) in captions


def test_the_button_verifies_and_the_page_shows_what_was_compared(served, monkeypatch):
    page = _page(served, monkeypatch)
    page.button(key="verify").click().run()
    wait_for(lambda: not page.run().button(key="verify").disabled, "the verification ends", SECONDS)
    assert page.success[0].value.startswith("Exact: ")
    report = next(table.value for table in page.dataframe if "mismatches" in table.value)
    assert len(report) > len(served.domain.stored_views) and set(report["mismatches"]) == {0}


def test_the_sql_box_answers_and_explains_what_it_cannot_answer(served, monkeypatch):
    page = _page(served, monkeypatch)
    page.text_area(key="statement").set_value(f"SELECT sum(orders) AS orders FROM {VIEW}")
    _button(page, "Run").click().run()
    serving = Serving(served.settings, served.domain)
    orders = sum(serving.present(VIEW, serving.answer(VIEW).merged)["orders"].to_pylist())
    assert next(t.value for t in page.dataframe if list(t.value) == ["orders"])["orders"][0] == orders
    page.text_area(key="statement").set_value("SELECT * FROM revenues")
    _button(page, "Run").click().run()
    assert not page.exception and "revenues" in page.error[0].value and VIEW in page.error[0].value


def test_a_store_that_is_away_is_a_sentence_and_no_secret(served, monkeypatch):
    away = served.settings.model_copy(update={"store_url": SecretStr("redis://:hush@127.0.0.1:1/0")})
    page = _page(Sandbox(away, served.domain), monkeypatch)
    assert not page.exception
    assert "the speed store does not answer" in page.error[0].value and "hush" not in page.error[0].value


def test_a_setting_that_cannot_be_used_is_a_sentence(served, monkeypatch):
    page = _page(served, monkeypatch)
    st.cache_resource.clear()
    monkeypatch.setenv("TIDEMARK_SEGMENT_SECONDS", "7")
    page.run()
    assert not page.exception and "TIDEMARK_SEGMENT_SECONDS='7'" in page.error[0].value


def test_the_newest_kept_verification_is_beside_the_button_and_in_a_badge(served, monkeypatch):
    page = _page(served, monkeypatch)
    assert "Never verified" in _markdown(page) and not page.success
    run(served.environment, "lake.cli", "verify", "--domain", served.domain.name, "--json")
    page = _page(served, monkeypatch)
    assert not page.exception and not page.error
    assert page.success[0].value.startswith("Exact: ") and ":green-badge[" in _markdown(page)
    newest = Verifications(served.settings).newest(served.domain.name)
    assert any(format_time(newest.at) in caption.value for caption in page.caption)


def test_a_lake_that_is_away_from_the_beginning_is_a_sentence(monkeypatch):
    away = Settings(s3_endpoint="http://127.0.0.1:1")
    page = _page(Sandbox(away, load_domain("shop", away.domains_dir)), monkeypatch)
    assert not page.exception
    assert page.error[0].value.startswith("the lake does not answer at http://127.0.0.1:1 (")


def _markdown(page: AppTest) -> str:
    return " ".join(markdown.value for markdown in page.markdown)
