"""What lander and speed layer tell of themselves is what the log, raw and the store hold."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.compute as pc
import pytest
import redis

from lake import metrics
from lake.errors import BadSettings
from lake.kernel import Kernel
from lake.log import Log
from lake.metrics import serve_metrics
from lake.raw import Raw
from streaming.gauges import Lag, watch_lander
from streaming.group_reader import GroupReader
from streaming.land import Lander
from streaming.states import SegmentStates
from tests.streaming.routes import declare, send_records
from tests.streaming.told import SERVED, Told, own


def test_a_lander_tells_what_it_landed(sandbox, send, workers, until, read_log):
    name = sandbox.domain.name
    workers.start("streaming.land", sandbox, **SERVED, TIDEMARK_LAND_INTERVAL_SECONDS="0.1")
    told = Told(workers.logs, until)
    send(sandbox, 700)
    until(lambda: told("tidemark_landed_events_total", domain=name) == 700)
    rows = read_log(sandbox)
    sizes = [pc.sum(pc.binary_length(rows[column])).as_py() for column in ("key", "value")]
    assert told("tidemark_landed_bytes_total", domain=name) == sum(sizes)
    assert told("tidemark_land_lag_offsets", domain=name) == 0
    assert told("tidemark_land_commit_events_sum", domain=name) == 700
    commits = told("tidemark_land_commit_seconds_count", domain=name)
    assert commits == told("tidemark_land_commit_events_count", domain=name) >= 1
    assert told("tidemark_land_failures_total", domain=name) == 0
    assert told("process_resident_memory_bytes") > 0
    assert "_created" not in told.text()


def test_a_router_tells_what_it_sent_and_how_far_each_source_is_ahead(sandbox, workers, until):
    source = declare(sandbox.settings, "source")
    target = declare(sandbox.settings, "target", [{"domain": "source"}])
    send_records(source, 300)
    workers.start("streaming.route", target, "--grace", "1", **SERVED)
    told = Told(workers.logs, until)
    until(lambda: told("tidemark_routed_events_total", domain="target") == 300)
    assert told("tidemark_route_lag_offsets", domain="target", source="source") == 0


class AwayRaw(Raw):
    """A lake that does not answer commits."""

    away = threading.Event()

    def append(self, table, rows, positions):
        if self.away.is_set():
            raise OSError("the lake is away")
        super().append(table, rows, positions)


def test_the_lag_of_a_lander_that_cannot_commit_grows_with_the_log_and_goes_when_it_can(sandbox, send, until):
    name, stop = sandbox.domain.name, threading.Event()
    lander = Lander(sandbox.settings, sandbox.domain, AwayRaw(sandbox.settings, sandbox.domain), stop)
    watch_lander(sandbox.settings, sandbox.domain, lander)
    assert math.isnan(own("tidemark_land_lag_offsets", domain=name))
    send(sandbox, 100)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lander.run)
        try:
            until(lambda: own("tidemark_land_lag_offsets", domain=name) == 0)
            AwayRaw.away.set()
            send(sandbox, 200, seed=2)
            assert own("tidemark_land_lag_offsets", domain=name) == 200
            until(lambda: own("tidemark_land_failures_total", domain=name))
            send(sandbox, 300, seed=3)
            assert own("tidemark_land_lag_offsets", domain=name) == 500
            AwayRaw.away.clear()
            until(lambda: own("tidemark_land_lag_offsets", domain=name) == 0)
        finally:
            AwayRaw.away.clear()
            stop.set()
            metrics.LAND_LAG.remove(name)
        running.result(60)
    assert own("tidemark_landed_events_total", domain=name) == 600


def test_the_lag_of_a_lander_counts_its_own_partitions(sandbox, send, until):
    name, stop = sandbox.domain.name, threading.Event()
    raw = Raw(sandbox.settings, sandbox.domain)
    lander = Lander(sandbox.settings, sandbox.domain, raw, stop, group=1, groups=2)
    watch_lander(sandbox.settings, sandbox.domain, lander)
    send(sandbox, 200)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lander.run)
        try:
            until(lambda: own("tidemark_land_lag_offsets", domain=name) == 0)
        finally:
            stop.set()
        running.result(60)
    end = Log(sandbox.settings, sandbox.domain).end()
    assert own("tidemark_landed_events_total", domain=name) == end[1] + end[3] < 200
    send(sandbox, 100, seed=2)
    later = Log(sandbox.settings, sandbox.domain).end()
    assert own("tidemark_land_lag_offsets", domain=name) == later[1] + later[3] - end[1] - end[3] > 0
    metrics.LAND_LAG.remove(name)


def test_a_chunk_that_is_put_twice_counts_once_and_as_refused(sandbox, send, speed_store):
    name, store = sandbox.domain.name, speed_store(sandbox)
    send(sandbox, 400)
    reader = GroupReader(sandbox.settings, sandbox.domain, store, lambda: ({}, {}))
    while (chunk := reader.poll(0.5)) is None:
        pass
    reader.close()
    states = SegmentStates(store, Kernel(sandbox.domain), tuple(sandbox.domain.stored_views))
    assert states.put(chunk) == set()
    bad = own("tidemark_put_bad_events_total", domain=name)
    assert states.put(chunk) == set(chunk.runs)
    assert own("tidemark_put_events_total", domain=name) == chunk.rows.num_rows
    assert own("tidemark_put_bad_events_total", domain=name) == bad
    assert own("tidemark_refused_puts_total", domain=name) == len(chunk.runs)


def test_a_lag_goes_on_from_what_was_known_while_the_store_is_away(sandbox, send):
    answers: list[dict[int, int] | None] = [{}]

    def heads() -> dict[int, int]:
        if answers[0] is None:
            raise redis.ConnectionError("the store is away")
        return answers[0]

    lag = Lag(sandbox.settings, sandbox.domain.topic, heads)
    send(sandbox, 100)
    answers[0] = Log(sandbox.settings, sandbox.domain).end()
    assert lag() == 0
    answers[0] = None
    send(sandbox, 50, seed=2)
    assert lag() == 50
    nowhere = sandbox.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    assert math.isnan(Lag(nowhere, sandbox.domain.topic, lambda: {})())


def test_metrics_are_off_by_default_and_a_taken_port_is_named(settings):
    assert serve_metrics(settings) is None
    port = serve_metrics(settings.model_copy(update={"metrics_port": 0}))
    other = settings.model_copy(update={"metrics_port": port})
    with pytest.raises(BadSettings, match=rf"TIDEMARK_METRICS_PORT={port}: nothing can listen there on 127.0.0.1"):
        serve_metrics(other)
