"""One Spark session for all tests of the jobs; each test has tables of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession

from jobs.build_mart import Build
from jobs.report import Built
from jobs.session import start_session
from lake.settings import Settings
from tests.jobs.landed import Landed

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.fixture(scope="session")
def spark(settings: Settings) -> Iterator[SparkSession]:
    # Its connections are closed as the interpreter ends, when there is no log to write to any more.
    logging.getLogger("py4j").setLevel(logging.WARNING)
    session = start_session(settings, "tests")
    yield session
    session.stop()


@pytest.fixture
def landed(sandbox) -> Landed:
    return Landed(sandbox.settings, sandbox.domain)


@pytest.fixture
def build(sandbox, spark) -> Callable[..., list[Built]]:
    """build(t1, t0=None, views=None): as the command does, in this process; raises what was refused first."""

    def run(t1: datetime, t0: datetime | None = None, views: list[str] | None = None) -> list[Built]:
        build = Build(sandbox.settings, sandbox.domain, t1, print)
        build.run(views, t0)
        if build.refused:
            raise build.refused[0]
        return build.built

    return run
