"""Pieces of work in one process live and die together."""

from __future__ import annotations

import threading

import pytest

from streaming.together import run_together


def test_it_runs_until_each_has_ended():
    done: list[str] = []
    stop = threading.Event()
    run_together({name: lambda name=name: done.append(name) for name in ("a", "b")}, stop)
    assert sorted(done) == ["a", "b"]


def test_the_error_of_one_stops_the_others_and_is_raised():
    stop, ended = threading.Event(), []

    def works() -> None:
        assert stop.wait(30)
        ended.append("works")

    def fails() -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run_together({"works": works, "fails": fails}, stop)
    assert ended == ["works"]


def test_all_end_when_they_are_asked_to():
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    run_together({name: lambda: stop.wait(30) for name in ("a", "b", "c")}, stop)
    assert stop.is_set()
