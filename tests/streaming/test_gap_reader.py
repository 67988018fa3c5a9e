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
from streaming.topic import TopicWatch
from tests.streaming.kept import assert_equal, catch_up, heads, next_segment, reader, states
from tests.streaming.processes import frozen


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


def _forget_once_asked(sandbox, monkeypatch) -> list[dict[int, int]]:
    """Right after the first answer to the question where the log begins; all answers, as they come."""
    begins, answers = TopicWatch.begins, []

    def overtaken(watch, topic):
        answers.append(begins(watch, topic))
        if len(answers) == 1:
            _forget(sandbox)
        return answers[-1]

    monkeypatch.setattr(TopicWatch, "begins", overtaken)
    return answers


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


def test_where_kafka_forgets_what_a_frozen_job_has_not_read_the_job_reads_raw_and_goes_on(
    make_sandbox, send, workers, until, speed_store, expected
):
    sandbox = make_sandbox(segment_seconds=1)
    store, job = speed_store(sandbox), workers.start("streaming.speed", sandbox)
    send(sandbox, 500)
    until(lambda: heads(store) == _end(sandbox))
    with frozen(job.pid):
        send(sandbox, 6_000, seed=2)
        right = expected(sandbox)
        _land(sandbox, workers, until)
        _forget(sandbox)
    until(lambda: heads(store) == _end(sandbox) or job.poll() is not None)
    assert job.poll() is None, workers.logs()
    assert_equal(store, right)
    assert "Kafka has forgotten what was not read yet; reading raw" in workers.logs()


def test_where_kafka_forgets_between_the_question_where_it_begins_and_the_first_read_raw_tells_it(
    sent, workers, until, speed_store, monkeypatch
):
    sandbox, expected = sent
    _land(sandbox, workers, until)
    answers = _forget_once_asked(sandbox, monkeypatch)
    store = speed_store(sandbox)
    assert catch_up(sandbox, store, reader(sandbox, store), states(sandbox, store)) == 0
    assert [any(begins.values()) for begins in answers] == [False, True, True]
    assert_equal(store, expected)


def test_where_raw_lacks_what_kafka_forgets_as_it_is_read_too_the_reader_stops_by_name(
    make_sandbox, send, workers, until, speed_store, monkeypatch
):
    sandbox = make_sandbox(segment_seconds=1)
    send(sandbox, 500)
    _land(sandbox, workers, until)
    send(sandbox, 9_000, seed=9)
    _forget_once_asked(sandbox, monkeypatch)
    with pytest.raises(RetentionPassed, match="does not hold them either"):
        reader(sandbox, speed_store(sandbox)).poll(1)


def test_where_raw_lacks_it_too_the_reader_stops_by_name(sent, workers, until, speed_store, send):
    sandbox, _ = sent
    _land(sandbox, workers, until)
    send(sandbox, 9_000, 9)
    _forget(sandbox)
    with pytest.raises(RetentionPassed, match="does not hold them either"):
        reader(sandbox, speed_store(sandbox)).poll(1)
