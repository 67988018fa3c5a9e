"""Secrets in logs: what the settings hold is replaced by asterisks, should any program say it."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from airflow.sdk.log import mask_secret
from pydantic import SecretStr

from lake.settings import Settings

_SHORTEST = 5
"""Airflow masks no shorter text, for it would be found in innocent words."""


def secrets_of(settings: Settings) -> list[str]:
    """Every secret that a program of ours is given, longest first: the settings' and Postgres' password."""
    hidden = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    password = urlsplit(settings.store_url.get_secret_value()).password or ""
    found = {*hidden, password, unquote(password), os.environ.get("PGPASSWORD", "")}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=lambda secret: (-len(secret), secret))


def mask_secrets(settings: Settings) -> Callable[[str], str]:
    """From now on Airflow masks them in what it logs of this task; returns what masks a text before it is logged.

    Airflow masks what a task's process hands to its supervisor, and nothing that `dag.test()` prints.
    """
    secrets = secrets_of(settings)
    for secret in secrets:
        mask_secret(secret)

    def masked(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return masked
