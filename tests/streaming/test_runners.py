"""What a runner of the speed layer lacks is an error that says how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import BadSettings
from streaming.runners import started


@pytest.mark.parametrize(
    "changes, workers, said",
    [
        ({"prism_binary": "/nowhere/prism"}, 1, "TIDEMARK_PRISM_BINARY=/nowhere/prism: .*`make setup` builds it"),
        ({}, 2, "--workers 2: Prism has one"),
        ({"runner": "flink", "flink_jars_dir": "/nowhere"}, 1, "TIDEMARK_FLINK_JARS_DIR=/nowhere: .*`tidemark setup"),
    ],
)
def test_a_runner_that_is_not_there_is_an_error_that_says_how_to_get_it(settings, tmp_path, changes, workers, said):
    paths = {name: Path(value) if name.endswith(("_binary", "_dir")) else value for name, value in changes.items()}
    with pytest.raises(BadSettings, match=said), started(settings.model_copy(update=paths), "job", workers, tmp_path):
        pass


def test_without_java_flink_says_so(settings, tmp_path, monkeypatch, runners):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(BadSettings, match="runner 'flink' needs java 17 or newer on PATH"),
        started(settings.model_copy(update={"runner": "flink"}), "job", 1, tmp_path),
    ):
        pass
