"""The canary measures how fresh the answers are, and nothing else is different because of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake import metrics
from lake.cuts import from_ms, segment_start
from lake.errors import NotSealed
from lake.kernel import COUNTS, Kernel
from lake.log import CANARY_HEADER, Log
from lake.raw import Raw
from lake.seal import seal
from lake.serving import Serving
from lake.timeline import announcements
from lake.verify import verify
from streaming.canary import Canary
from streaming.group_reader import GroupReader
from streaming.states import SegmentStates
from tests.streaming.told import SERVED, Told, own

QUICK = {"TIDEMARK_LAND_INTERVAL_SECONDS": "0.1", "TIDEMARK_CANARY_INTERVAL_SECONDS": "0.1"}


def of_canary(rows: pa.Table) -> pa.Array:
    keys = [[header["key"] for header in headers or ()] for headers in rows["headers"].to_pylist()]
    return pa.array([CANARY_HEADER in each for each in keys])


def test_it_measures_every_partition_and_counts_in_no_view(sandbox, send, workers, until, read_log):
    name, settings, domain = sandbox.domain.name, sandbox.settings, sandbox.domain
    for module in ("streaming.land", "streaming.speed"):
        workers.start(module, sandbox, **QUICK)
    canary = workers.start("streaming.canary", sandbox, **QUICK, **SERVED)
    told = Told(workers.logs, until)
    send(sandbox, 800)
    until(lambda: (told("tidemark_freshness_seconds_count", domain=name) or 0) > 2 * domain.partitions)
    last, total = (told(f"tidemark_freshness_{what}", domain=name) for what in ("last_seconds", "seconds_sum"))
    assert 0 < last < total
    until(lambda: told("tidemark_raw_lag_offsets", domain=name) == 0)
    markers = told("tidemark_canary_markers_total", domain=name)
    canary.terminate()
    assert canary.wait(30) == 0
    rows = read_log(sandbox)
    marked = of_canary(rows)
    assert pc.sum(marked).as_py() == len(rows) - 800 >= markers
    assert set(rows.filter(marked)["partition"].to_pylist()) == set(range(domain.partitions))
    kernel = Kernel(domain)
    with_markers = kernel.run(rows)
    events = kernel.run(rows.filter(pc.invert(marked)))
    assert {view: with_markers[view] for view in domain.stored_views} == {v: events[v] for v in domain.stored_views}
    counts = {kind: pc.sum(with_markers[COUNTS][kind]).as_py() for kind in ("events", "good", "quarantined", "markers")}
    assert counts["markers"] == len(rows) - 800
    assert counts["good"] + counts["quarantined"] == 800
    Raw(settings, domain).await_positions(Log(settings, domain).end(), 60)
    serving, end = Serving(settings, domain), Log(settings, domain).end()
    until(lambda: all(head == end for head in serving.heads().values()))
    report = verify(settings, domain, serving)
    assert report.ok, report.problems
    assert {kind: sum(p[kind] for p in report.partitions) for kind in ("good", "quarantined", "markers")} == {
        kind: counts[kind] for kind in ("good", "quarantined", "markers")
    }


@pytest.fixture
def canary(make_sandbox) -> Iterator[tuple]:
    """A sandbox with segments of a second, a canary that runs in this process, and its stop."""
    sandbox, stop = make_sandbox(partitions=2, segment_seconds=1), threading.Event()
    yield sandbox, Canary(sandbox.settings, sandbox.domain, stop), stop
    stop.set()
    metrics.CANARY_WAITING_SECONDS.remove(sandbox.domain.name)


def catch_up(sandbox, store) -> None:
    """What the speed job does, without a runner, up to the log's end."""
    reader = GroupReader(sandbox.settings, sandbox.domain, store, lambda: ({}, {}))
    states = SegmentStates(store, Kernel(sandbox.domain), tuple(sandbox.domain.stored_views))
    end = Log(sandbox.settings, sandbox.domain).end()
    while {p: head.next_offset for p, head in store.heads().items()} != end:
        if chunk := reader.poll(0.1):
            assert not states.put(chunk)
    reader.close()


def test_while_nobody_reads_the_log_a_marker_waits_and_its_time_grows(canary, until, speed_store):
    sandbox, watched, _ = canary
    name, log = sandbox.domain.name, Log(sandbox.settings, sandbox.domain)
    with ThreadPoolExecutor(1) as pool:
        measured = pool.submit(watched.measure)
        until(lambda: sum(log.end().values()) == 1)
        before = own("tidemark_canary_waiting_seconds", domain=name)
        until(lambda: own("tidemark_canary_waiting_seconds", domain=name) > before)
        assert not measured.done()
        catch_up(sandbox, speed_store(sandbox))
        seconds = measured.result(60)
    assert seconds > before
    assert own("tidemark_freshness_last_seconds", domain=name) == seconds
    assert own("tidemark_canary_waiting_seconds", domain=name) == 0
    assert sum(log.end().values()) == 1


def test_its_marker_seals_no_cut_and_announces_nothing(canary, workers, speed_store, read_log):
    sandbox, watched, stop = canary
    raw = Raw(sandbox.settings, sandbox.domain)
    workers.start("streaming.land", sandbox, **QUICK)
    ms = segment_start(time.time_ns() // 1_000_000, 1)  # long before now, as far as the brokers know
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(watched.run)
        while sum(Log(sandbox.settings, sandbox.domain).end().values()) < 6:
            catch_up(sandbox, speed_store(sandbox))
        stop.set()
        running.result(60)
    table = raw.await_positions(Log(sandbox.settings, sandbox.domain).end(), 60)
    with pytest.raises(NotSealed, match="no complete seal"):
        raw.cut(from_ms(ms), table)
    rows = read_log(sandbox)
    assert all(of_canary(rows).to_pylist()) and announcements(rows) == []
    assert seal(sandbox.settings, sandbox.domain, from_ms(ms)) == {}


def test_it_looks_at_most_twenty_times_a_second(canary):
    _, watched, _ = canary
    looks: list[float] = []

    class Slow:
        def now(self):
            looks.append(time.monotonic())
            return {"view": {0: len(looks) - 20}}

    watched._heads = Slow()
    assert watched.measure() is not None
    assert len(looks) == 21  # the first is before the marker
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(looks[1:]))


def test_raw_falls_behind_where_the_lander_is_stopped(sandbox, send, workers, until):
    name = sandbox.domain.name
    lander = workers.start("streaming.land", sandbox, **QUICK)
    workers.start("streaming.canary", sandbox, **QUICK, **SERVED)  # without a speed job it waits with its first marker
    told = Told(workers.logs, until)
    send(sandbox, 300)
    until(lambda: told("tidemark_canary_markers_total", domain=name) == 1)
    until(lambda: told("tidemark_raw_lag_offsets", domain=name) == 0)
    lander.kill()
    lander.wait()
    send(sandbox, 200, seed=2)
    assert told("tidemark_raw_lag_offsets", domain=name) == 200
    send(sandbox, 100, seed=3)
    assert told("tidemark_raw_lag_offsets", domain=name) == 300
    workers.start("streaming.land", sandbox, **QUICK)
    until(lambda: told("tidemark_raw_lag_offsets", domain=name) == 0)
