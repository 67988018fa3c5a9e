"""One version of a Delta log is one driver's, on S3, whatever the other driver and the network do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.jobs.cut_replies import cut_replies

ROOT = Path(__file__).parents[2]
OURS = "tidemark.ConditionalS3LogStore"
STOCK = "io.delta.storage.S3SingleDriverLogStore"  # what Delta takes for s3a:// by itself
COMMITS = 25


class Driver:
    """A Spark driver process. `ask` sends, `answer` waits; so two can be asked at the same moment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.driver"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, do: str, **arguments: object) -> None:
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> object:
        line = self._process.stdout.readline()
        assert line, f"the driver ended with {self._process.wait()}; its stderr is above"
        return json.loads(line)

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def lake(make_sandbox):
    return make_sandbox()


@pytest.fixture(scope="module")
def drivers(lake) -> Iterator[list[Driver]]:
    drivers = [Driver(lake.environment) for _ in range(2)]
    assert [driver.answer() for driver in drivers] == ["ready", "ready"]
    yield drivers
    for driver in drivers:
        driver.stop()


def test_what_two_drivers_appending_at_once_were_told_is_committed_is_in_the_table(lake, drivers):
    table = f"s3a://{lake.settings.bucket}/appended"
    drivers[0].ask("append", table=table, rows=["created"])
    acknowledged = list(drivers[0].answer())
    for driver, name in zip(drivers, "ab", strict=True):
        driver.ask("append", table=table, rows=[f"{name}{i}" for i in range(COMMITS)])
    for driver in drivers:
        acknowledged += driver.answer()
    stored = DeltaTable(table.replace("s3a", "s3"), storage_options=lake.settings.storage_options())
    assert len(acknowledged) == 2 * COMMITS + 1
    assert sorted(stored.to_pyarrow_table()["row"].to_pylist()) == sorted(acknowledged)
    assert stored.version() == 2 * COMMITS


def _race(lake, drivers, store: str) -> list[int]:
    """How many drivers were told that they wrote it, for each version that both tried at once."""
    winners = []
    for version in range(COMMITS):
        path = f"s3a://{lake.settings.bucket}/{store}/_delta_log/{version:020}.json"
        for driver, name in zip(drivers, "ab", strict=True):
            driver.ask("write", store=store, path=path, action=json.dumps({"by": name}))
        winners.append(sum(driver.answer() for driver in drivers))
    return winners


def test_of_two_drivers_that_write_one_version_exactly_one_is_acknowledged(lake, drivers):
    assert _race(lake, drivers, OURS) == [1] * COMMITS


def test_without_this_log_store_two_drivers_are_told_that_they_wrote_one_version(lake, drivers):
    winners = _race(lake, drivers, STOCK)
    print(f"Delta's own log store: {winners.count(2)} of {COMMITS} versions acknowledged twice")
    assert 2 in winners


def test_a_version_whose_acknowledgement_was_lost_is_still_its_writers(lake, drivers):
    path = f"s3a://{lake.settings.bucket}/lost/_delta_log/{0:020}.json"
    with cut_replies(lake.settings.s3_endpoint) as proxy:
        proxy.lose(1)
        drivers[0].ask("write", store=OURS, path=path, action='{"by": "a"}', endpoint=proxy.endpoint)
        assert drivers[0].answer() is True
        assert proxy.lost == 1
    drivers[1].ask("write", store=OURS, path=path, action='{"by": "b"}')
    assert drivers[1].answer() is False
