"""A task that fails for good tells the webhook; the webhook's URL and the secrets tell nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from dags.alert import alert
from dags.masking import secrets_of
from lake.settings import Settings
from tests.dags.webhook import Webhook


@pytest.fixture
def webhook(monkeypatch) -> Iterator[Webhook]:
    found = Webhook()
    monkeypatch.setenv("TIDEMARK_ALERT_WEBHOOK", found.url)
    yield found
    found.close()


def _context(error: str = "raw has holes", **changes: object) -> dict:
    instance = SimpleNamespace(
        dag_id="verify_views", run_id="manual__1", task_id="verify", log_url="http://airflow/dags/verify_views/runs/1"
    )
    return {"ti": instance, "task": SimpleNamespace(domain="shop"), "exception": RuntimeError(error), **changes}


def test_an_alert_says_what_failed_where_and_why(webhook):
    alert(_context())
    [(path, told)] = webhook.posted
    assert path == "/hooks/not-for-you"
    assert told == {
        "text": "verify_views.verify (shop) failed: raw has holes\nhttp://airflow/dags/verify_views/runs/1",
        "dag": "verify_views",
        "run": "manual__1",
        "task": "verify",
        "domain": "shop",
        "error": "raw has holes",
        "url": "http://airflow/dags/verify_views/runs/1",
    }


def test_a_task_whose_process_was_lost_is_told_of_with_what_is_known(webhook):
    alert(_context(task=None, exception=None, params={"domain": "stocks"}))
    [(_, told)] = webhook.posted
    assert (told["domain"], told["error"]) == ("stocks", "its process was lost")


def test_an_alert_ends_with_the_last_words_and_holds_no_secret(webhook, monkeypatch):
    monkeypatch.setenv("TIDEMARK_S3_SECRET_KEY", "hunter-222")
    monkeypatch.setenv("TIDEMARK_STORE_URL", "redis://:pass%2Fword@127.0.0.1/0")
    monkeypatch.setenv("PGPASSWORD", "postgres-pw")
    alert(_context("x" * 5000 + " hunter-222, pass/word, pass%2Fword and postgres-pw are the last words"))
    [(_, told)] = webhook.posted
    assert told["error"].endswith("xx ***, ***, *** and *** are the last words")
    assert len(told["error"]) == 1000


def test_without_a_webhook_nothing_is_posted(webhook, monkeypatch, caplog):
    monkeypatch.delenv("TIDEMARK_ALERT_WEBHOOK")
    alert(_context())
    assert webhook.posted == [] and caplog.records == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "HTTPError 500"),
        ("http://127.0.0.1:1/hooks/not-for-you", "URLError"),
        ("not-for-you", "ValueError"),
        ("file:///hooks/not-for-you", "ValueError"),
        ("http://127.0.0.1:bad/not-for-you", "InvalidURL"),
    ],
)
def test_a_webhook_that_does_not_take_it_is_a_warning_without_its_url(webhook, monkeypatch, caplog, url, told):
    webhook.status = 500
    if url:
        monkeypatch.setenv("TIDEMARK_ALERT_WEBHOOK", url)
    with caplog.at_level(logging.DEBUG):
        alert(_context())
    assert f"({told})" in caplog.text and "TIDEMARK_ALERT_WEBHOOK" in caplog.text
    assert "not-for-you" not in caplog.text


def test_every_secret_of_the_settings_is_known():
    settings = Settings(
        s3_secret_key="secret-1", store_url="redis://:secret-2@host/0", alert_webhook="https://hooks/secret-3"
    )
    assert {"secret-1", "secret-2", "https://hooks/secret-3"} <= set(secrets_of(settings))
    assert secrets_of(Settings(store_url="redis://host/0")) == ["redis://host/0"]
