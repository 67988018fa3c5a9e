"""Tells a webhook that a task has failed for good: who wants to know reads no logs.

Invariant: the webhook's URL is a secret and shows in no log; an alert that cannot be sent is a warning, no failure.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from dags.masking import mask_secrets
from lake.errors import TidemarkError
from lake.settings import load_settings

logger = logging.getLogger("airflow.task")
_TIMEOUT_SECONDS = 10
_LAST_CHARACTERS = 1000


def alert(context: Mapping[str, Any]) -> None:
    """A task's `on_failure_callback`: POST {text, dag, run, task, domain, error, url} to TIDEMARK_ALERT_WEBHOOK."""
    try:
        settings = load_settings()
    except TidemarkError as error:
        logger.warning("no alert was sent: %s", error)
        return
    url = settings.alert_webhook.get_secret_value()
    if not url:
        return
    found = describe(context)
    found["error"] = mask_secrets(settings)(found["error"])[-_LAST_CHARACTERS:]
    # The field that chat systems show.
    about = f" ({found['domain']})" if found["domain"] else ""
    text = f"{found['dag']}.{found['task']}{about} failed: {found['error']}\n{found['url']}"
    try:
        _post(url, {"text": text, **found})
    except (OSError, ValueError, HTTPException) as error:
        # Never the error's own words: they may quote the URL.
        logger.warning(
            "no alert was sent: the webhook did not take it (%s%s); is TIDEMARK_ALERT_WEBHOOK right?",
            type(error).__name__,
            f" {error.code}" if hasattr(error, "code") else "",
        )


def describe(context: Mapping[str, Any]) -> dict[str, str]:
    """Which task of which run failed, and its error's words. A callback for a lost process knows less: then empty."""
    instance = context["ti"]
    domain = getattr(context.get("task"), "domain", None) or (context.get("params") or {}).get("domain")
    return {
        "dag": instance.dag_id,
        "run": instance.run_id,
        "task": instance.task_id,
        "domain": domain if isinstance(domain, str) else "",
        "error": str(context.get("exception") or "its process was lost"),
        "url": instance.log_url,
    }


def _post(url: str, document: Mapping[str, str]) -> None:
    request = Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST")
    if request.type not in ("http", "https"):
        raise ValueError("not http")
    with urlopen(request, timeout=_TIMEOUT_SECONDS):
        pass
