"""A reader that is far behind says how far, now and then."""

from __future__ import annotations

from contextlib import closing

import pytest
from structlog.testing import capture_logs

from streaming import group_reader
from tests.streaming.kept import catch_up, put_count, reader, states


@pytest.fixture
def told(make_sandbox, send, speed_store, monkeypatch):
    """told(every): what a reader that catches up with 4,000 events says, where 1,000 are far; then one at the end."""
    sandbox = make_sandbox(partitions=1)
    send(sandbox, 4_000)
    store = speed_store(sandbox)
    monkeypatch.setattr(group_reader, "_BEHIND", 1_000)
    monkeypatch.setattr(group_reader, "_MAX_RECORDS", 500)

    def told(every: float) -> list[dict]:
        monkeypatch.setattr(group_reader, "_REPORT_SECONDS", every)
        with capture_logs() as lines, closing(reader(sandbox, store)) as ours:
            catch_up(sandbox, store, ours, states(sandbox, store))
            assert put_count(store) == 4_000
            send(sandbox, 900, seed=2)
            catch_up(sandbox, store, ours, states(sandbox, store))
        return [line for line in lines if line["event"] == "catching up"]

    return told


def test_catching_up_it_says_how_many_events_are_left_and_at_the_end_nothing(told):
    lines = told(every=0)
    behind = [line["events_behind"] for line in lines]
    assert behind == sorted(set(behind), reverse=True)
    assert 3_500 <= behind[0] < 4_000 and 1_000 < behind[-1] <= 1_500
    assert {(line["log_level"], line["group"]) for line in lines} == {("info", 0)}


def test_it_says_so_once_an_interval(told):
    [line] = told(every=3_600)
    assert line["events_behind"] >= 3_500
