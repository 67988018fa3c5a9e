"""Lander and speed job, frozen for longer than any of their connections waits, go on as if nothing had been."""

from __future__ import annotations

import time

from lake.log import Log
from tests.streaming.kept import assert_equal, heads, put_count
from tests.streaming.landed import landed, times_landed
from tests.streaming.processes import frozen

FROZEN_SECONDS = 22
"""Longer than whatever a process waits for, which `impatient` has shortened to ten seconds or twenty."""


def test_frozen_under_load_past_every_timeout_while_others_take_over_they_go_on_and_all_is_exact(
    make_sandbox, workers, until, speed_store, expected
):
    sandbox = make_sandbox(segment_seconds=1, land_interval_seconds=0.1)
    store, modules = speed_store(sandbox), ("streaming.land", "streaming.speed")

    def counts() -> tuple[int, int]:
        return sum(landed(sandbox).values()), put_count(store)

    def move_on() -> None:
        begun = counts()
        until(lambda: all(now > before for now, before in zip(counts(), begun, strict=True)))

    producer = workers.start("streaming.produce", sandbox, "--like", "shop", "--rate", "1000")
    ours = [workers.start("tests.streaming.impatient", sandbox, module) for module in modules]
    move_on()
    with frozen(*(process.pid for process in ours)):
        thaw_at = time.monotonic() + FROZEN_SECONDS
        others = [workers.start(module, sandbox) for module in modules]
        move_on()
        until(lambda: time.monotonic() > thaw_at)
    move_on()
    for process in others:
        process.terminate()
        assert process.wait(30) == 0
    move_on()
    producer.terminate()
    assert producer.wait(60) == 0
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: heads(store) == end and landed(sandbox) == end)
    assert [process.poll() for process in ours] == [None, None], workers.logs()
    assert_equal(store, expected(sandbox))
    assert times_landed(sandbox) == {(p, offset): 1 for p, stop in end.items() for offset in range(stop)}
