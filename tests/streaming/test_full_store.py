"""Where the store is full, the speed job waits, says so, and goes on exactly once there is room."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from lake.log import Log
from lake.serving import Serving
from lake.store import Put, SpeedStore
from streaming.gauges import Lag
from tests.store_server import used_bytes
from tests.streaming.kept import (
    assert_equal,
    catch_up,
    heads,
    next_chunk,
    next_segment,
    reader,
    states,
    stored,
)

FULL = "the store is full, waiting for room"


@pytest.fixture
def waiting(own_store, send, speed_store, until, workers):
    """A sandbox, its store, the server, and the speed job: it has kept segments, and waits with what came since."""
    sandbox, run_store = own_store
    store = speed_store(sandbox)
    with run_store("--maxmemory", "100mb", "--maxmemory-policy", "noeviction") as server:
        job = workers.start("streaming.speed", sandbox)
        for seed in range(4):
            send(sandbox, 2_000, seed)
            next_segment(sandbox)
        until(lambda: heads(store) == Log(sandbox.settings, sandbox.domain).end())
        server.config_set("maxmemory", used_bytes(server) - 100_000)
        send(sandbox, 1_000, seed=9)
        until(lambda: FULL in workers.logs())
        yield sandbox, store, server, job


def test_a_speed_job_whose_store_is_full_waits_says_so_once_and_goes_on_exactly_when_it_may_hold_more(
    waiting, send, until, expected, workers
):
    sandbox, store, server, job = waiting
    before, size = store.snapshot(), used_bytes(server)
    lag = Lag(sandbox.settings, sandbox.domain.topic, lambda: heads(store))
    assert lag() >= 1_000
    send(sandbox, 500, seed=10)
    refused = server.info("stats")["total_error_replies"]
    until(lambda: server.info("stats")["total_error_replies"] > refused + 2)
    assert lag() >= 1_500
    assert store.snapshot() == before
    assert used_bytes(server) < size + 1_000_000
    answer = Serving(sandbox.settings, sandbox.domain).answer("revenue_by_country_hour")
    assert (answer.head, answer.held) == (heads(store), None)
    assert workers.logs().count(FULL) == 1
    assert "`store.maxMemory`" in workers.logs()
    server.config_set("maxmemory", "100mb")
    until(lambda: heads(store) == Log(sandbox.settings, sandbox.domain).end())
    assert_equal(store, expected(sandbox))
    assert job.poll() is None


def test_when_covered_segments_were_let_go_the_job_goes_on_exactly(waiting, until, expected):
    sandbox, store, _, job = waiting
    covered = heads(store)
    assert store.trim(covered) > 0  # as a build does, which needs no speed layer for it
    until(lambda: heads(store) == Log(sandbox.settings, sandbox.domain).end())
    ranges, found = stored(store)
    right = expected(sandbox)
    kept = {key for key, (_, next_) in right.ranges.items() if next_ > covered.get(key[0], 0)}
    assert kept <= ranges.keys() < right.ranges.keys()
    assert ranges == {key: right.ranges[key] for key in ranges}
    assert found == {key: right.states[key] for key in ranges}
    assert job.poll() is None


def test_a_reader_waits_for_room_to_open_a_partition(own_store, send, speed_store, until):
    sandbox, run_store = own_store
    send(sandbox, 400)
    with run_store("--maxmemory", "1", "--maxmemory-policy", "noeviction") as server, ThreadPoolExecutor() as pool:
        chunk = pool.submit(next_chunk, reader(sandbox, speed_store(sandbox)))
        until(lambda: server.info("stats")["total_error_replies"] > 2)
        assert server.dbsize() == 0
        server.config_set("maxmemory", "100mb")
        assert chunk.result(60).rows.num_rows > 0


class _RoomForOne(SpeedStore):
    """Never has room for more than one partition of a chunk."""

    def put_all(self, puts: Sequence[Put]) -> list[bool | None]:
        return [*super().put_all(puts[:1]), *[None for _ in puts[1:]]]


def test_where_there_is_room_for_part_of_a_chunk_the_rest_waits_and_nothing_counts_as_refused(sandbox, send, expected):
    store = _RoomForOne(sandbox.settings.store_url, "generation", sandbox.domain.name)
    send(sandbox, 400)
    assert catch_up(sandbox, store, reader(sandbox, store), states(sandbox, store)) == 0
    assert_equal(store, expected(sandbox))
