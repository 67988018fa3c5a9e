"""Airflow with a home of its own; set before anything imports Airflow, which makes its files there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="tidemark-airflow-")
_AIRFLOW = {
    "AIRFLOW_HOME": _HOME.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[2] / "dags"),
}
os.environ |= _AIRFLOW


@pytest.fixture(scope="session")
def airflow_environment() -> Iterator[dict[str, str]]:
    yield _AIRFLOW
    _HOME.cleanup()
