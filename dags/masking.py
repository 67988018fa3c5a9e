"""Secrets in logs: what the settings hold is replaced by asterisks, should any program say it."""

from __future__ import annotations

import os
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


def mask_secrets(settings: Settings) -> None:
    """From now on no log of this task shows them."""
    for secret in secrets_of(settings):
        mask_secret(secret)


def masked(text: str, settings: Settings) -> str:
    """The text without them, for what is sent elsewhere."""
    for secret in secrets_of(settings):
        text = text.replace(secret, "***")
    return text
