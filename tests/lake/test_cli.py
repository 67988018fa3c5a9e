"""What a person types and reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from lake.cli import app
from lake.errors import BadSettings, TidemarkError
from lake.settings import Settings, load_settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_command_is_in_the_readme() -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(names) > 10
    for name in names:
        assert f"`tidemark {name}" in README or f"`{name}`" in README or f"`{name} " in README, name


def test_a_time_that_is_none_is_told() -> None:
    result = CliRunner().invoke(app, ["seal", "--at", "yesterday"])
    assert isinstance(result.exception, TidemarkError)
    assert "'yesterday' is no time; write it like 2026-11-21T09:00:00Z" in str(result.exception)


def test_a_wrong_setting_is_told_with_its_variable_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SEGMENT_SECONDS", "7")
    with pytest.raises(BadSettings, match=r"TIDEMARK_SEGMENT_SECONDS='7'.*must divide an hour.*settings.env"):
        load_settings()


def test_secrets_do_not_show() -> None:
    settings = Settings(s3_secret_key=SecretStr("hidden"), store_url=SecretStr("redis://:hidden@host/0"))
    assert "hidden" not in f"{settings!r} {settings} {settings.model_dump()}"
