"""A broker that dies under load, and comes back on its data, costs no event and no process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest

from lake.log import Log
from lake.verify import verify
from local.stack import Stack
from tests.conftest import running
from tests.streaming.kept import assert_answers, assert_equal, heads, put_count
from tests.streaming.landed import landed, times_landed


@pytest.fixture
def broker(tools, tmp_path) -> Iterator[Stack]:
    """A Kafka of this test alone."""
    with running(tools, tmp_path / "broker", ["kafka"]) as broker:
        yield broker


def test_after_sigkills_of_the_broker_every_acknowledged_event_is_in_raw_and_in_the_answer(
    broker, make_sandbox, workers, until, speed_store, expected, tmp_path
):
    bootstrap = broker.settings().kafka_bootstrap
    sandbox = make_sandbox(segment_seconds=1, land_interval_seconds=0.1, kafka_bootstrap=bootstrap)
    store, ledger = speed_store(sandbox), tmp_path / "ledger.jsonl"
    ours = [workers.start(module, sandbox) for module in ("streaming.land", "streaming.speed")]
    producer = workers.start("streaming.produce", sandbox, "--like", "shop", "--rate", "1000", "--ledger", str(ledger))
    for kills in range(3):
        before = put_count(store), sum(landed(sandbox).values())
        until(lambda at=before: put_count(store) > at[0] + 500 and sum(landed(sandbox).values()) > at[1] + 500)
        if kills < 2:
            psutil.Process(broker.supervisor.states()["kafka"]["pid"]).kill()
    producer.terminate()
    assert producer.wait(60) == 0, workers.logs()
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: heads(store) == end and landed(sandbox) == end)
    assert [process.poll() for process in ours] == [None, None], workers.logs()
    acknowledged = [json.loads(line) for line in ledger.read_text().splitlines()]
    times = times_landed(sandbox)
    assert times == {(p, offset): 1 for p, stop in end.items() for offset in range(stop)}
    assert {(line["partition"], line["offset"]) for line in acknowledged} == times.keys()
    assert_equal(store, expected(sandbox))
    assert_answers(sandbox, acknowledged)
    assert verify(sandbox.settings, sandbox.domain).problems == []
