"""Where Kafka has forgotten what the speed layer has not read, raw tells it; where raw does not either, it stops."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from lake.errors import RetentionPassed
from lake.log import Log
from lake.raw import Raw
from lake.tables import open_table
from streaming import gap_reader
from tests.streaming.kept import assert_equal, catch_up, heads, next_segment, reader, states


@pytest.fixture
def sent(make_sandbox, send, expected):
    """A sandbox with records in several segments and partitions, and what the store has to hold of them."""
    sandbox = make_sandbox(segment_seconds=1)
    for seed in range(2):
        send(sandbox, 3_000, seed)
        next_segment(sandbox)
    return sandbox, expected(sandbox)


def _land(sandbox, workers, until) -> None:
    lander, end = workers.start("streaming.land", sandbox, TIDEMARK_LAND_INTERVAL_SECONDS="0.1"), _end(sandbox)
    raw = Raw(sandbox.settings, sandbox.domain)
    until(lambda: _exists(raw) and raw.positions(raw.table()) == end)
    lander.terminate()
    lander.wait(30)


def _exists(raw: Raw) -> bool:
    return open_table(raw.settings, raw.uri) is not None


def _end(sandbox) -> dict[int, int]:
    return {p: offset for p, offset in Log(sandbox.settings, sandbox.domain).end().items() if offset}


def _forget(sandbox) -> None:
    """As retention does: the first two thirds of each partition."""
    admin = AdminClient({"bootstrap.servers": sandbox.settings.kafka_bootstrap})
    gone = [TopicPartition(sandbox.domain.topic, p, offset * 2 // 3) for p, offset in _end(sandbox).items()]
    for deleted in admin.delete_records(gone).values():
        deleted.result()


@pytest.mark.parametrize("window", [100_000, 700])
def test_what_kafka_has_forgotten_comes_from_raw(sent, workers, until, speed_store, monkeypatch, window):
    sandbox, expected = sent
    _land(sandbox, workers, until)
    _forget(sandbox)
    monkeypatch.setattr(gap_reader, "_WINDOW_RECORDS", window)
    store = speed_store(sandbox)
    assert catch_up(sandbox, store, reader(sandbox, store), states(sandbox, store)) == 0
    assert_equal(store, expected)


def test_the_speed_job_says_so_and_goes_on(sent, send, workers, until, speed_store):
    sandbox, _ = sent
    _land(sandbox, workers, until)
    _forget(sandbox)
    workers.start("streaming.speed", sandbox)
    send(sandbox, 500, 9)
    end, store = Log(sandbox.settings, sandbox.domain).end(), speed_store(sandbox)
    until(lambda: heads(store) == end)
    assert "Kafka has forgotten what was not read yet; reading raw" in workers.logs()


def test_where_raw_lacks_it_too_the_reader_stops_by_name(sent, workers, until, speed_store, send):
    sandbox, _ = sent
    _land(sandbox, workers, until)
    send(sandbox, 9_000, 9)
    _forget(sandbox)
    with pytest.raises(RetentionPassed, match="does not hold them either"):
        reader(sandbox, speed_store(sandbox)).poll(1)
