"""Each routed event stands once in the target, whoever routes and whatever dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from lake.errors import BadDomain, LogRecreated
from lake.raw import Raw
from local.provision import create_bucket
from streaming.land import Lander
from streaming.progress import Progress, RouteTaken
from streaming.route import Router, read_back
from streaming.topic import Topic, TopicWatch
from tests.streaming.conftest import ROOT, wait_for
from tests.streaming.routes import count_log, declare, places, read_all, send_records

GRACE = "8"  # longer than a loaded broker takes to append what a killed router had sent


class Routes:
    """A sandbox with a source and a target, and processes that route between them."""

    def __init__(self, sandbox, folder: Path) -> None:
        self.settings, self._environment, self._folder = sandbox.settings, sandbox.environment, folder
        self.source = declare(self.settings, "source")
        self.target = declare(self.settings, "target", [{"domain": "source"}])
        self.processes: list[subprocess.Popen] = []

    def start(self, guard_off: str | None = None, *domains: str) -> subprocess.Popen:
        module = ["tests.streaming.careless_route", guard_off] if guard_off else ["streaming.route"]
        options = [option for name in domains or ("target",) for option in ("--domain", name)]
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *options, "--grace", GRACE],
            cwd=ROOT,
            env=self._environment,
            stderr=(self._folder / f"route-{len(self.processes)}.log").open("w"),
        )
        self.processes.append(process)
        return process

    def log(self, process: subprocess.Popen) -> str:
        return (self._folder / f"route-{self.processes.index(process)}.log").read_text()

    def times_routed(self) -> Counter:
        """How often each record of the source stands in the target."""
        return Counter(places(read_all(self.settings, self.target.domain).to_pylist()))

    def all_once(self) -> Counter:
        watch = TopicWatch(self.settings, self.source.domain.topic)
        topic = watch.now()
        return Counter((topic.id, p, offset) for p, end in watch.ends(topic).items() for offset in range(end))


@pytest.fixture
def routes(sandbox, tmp_path) -> Iterator[Routes]:
    routes = Routes(sandbox, tmp_path)
    yield routes
    for process in routes.processes:
        process.kill()
        process.wait()


def route_under_kills(routes: Routes, kills: int, guard_off: str | None = None) -> Counter:
    router = routes.start(guard_off)
    for _ in range(kills):
        before = count_log(routes.target)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send_records, routes.source, 30_000)
            wait_for(lambda before=before: count_log(routes.target) > before, 60)
            router.kill()
            router.wait()
            router = routes.start(guard_off)
            sending.result()
    wait_for(lambda: count_log(routes.target) >= count_log(routes.source), 60)
    router.terminate()
    assert router.wait(30) == 0
    return routes.times_routed()


def test_a_router_that_is_killed_in_the_middle_of_batches_routes_each_event_once(routes):
    times = route_under_kills(routes, kills=3)
    found = [int(n) for each in routes.processes for n in re.findall(r"found=(\d+)", routes.log(each))]
    print(f"{len(times)} events; read back after the kills: {found}")
    assert sum(found) > 0, "no kill hit between sending and noting it"
    assert times == routes.all_once()


def test_negative_control_without_reading_back_a_killed_router_doubles_events(routes):
    times = route_under_kills(routes, kills=2, guard_off="read_back")
    assert set(times) == set(routes.all_once())
    assert max(times.values()) > 1


def test_a_second_router_ends_while_the_first_is_at_work_and_takes_over_at_once_when_that_stops(routes):
    first = routes.start()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(_send_until, routes.source, stop)
        try:
            wait_for(lambda: count_log(routes.target) > 0, 60)
            second = routes.start()
            assert second.wait(60) == 2
        finally:
            stop.set()
        sending.result()
    assert f"RouteTaken: another router of topic '{routes.target.domain.topic}' is at work" in routes.log(second)
    first.terminate()
    assert first.wait(30) == 0
    send_records(routes.source, 100)
    routes.start()
    wait_for(lambda: count_log(routes.target) >= count_log(routes.source))
    assert routes.times_routed() == routes.all_once()


def _send_until(source, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        send_records(source, 200)


@pytest.mark.parametrize("guard_off", [None, "claim"], ids=["guarded", "negative_control"])
def test_a_router_that_was_frozen_while_another_took_over_sends_nothing_more(routes, guard_off):
    frozen = routes.start(guard_off)
    send_records(routes.source, 500)
    wait_for(lambda: count_log(routes.target) == 500)
    os.kill(frozen.pid, signal.SIGSTOP)
    second = routes.start()
    send_records(routes.source, 500)
    wait_for(lambda: count_log(routes.target) == 1000)
    os.kill(frozen.pid, signal.SIGCONT)
    if guard_off is None:
        assert frozen.wait(30) == 2
        assert "has taken over" in routes.log(frozen)
    send_records(routes.source, 500)
    wait_for(lambda: count_log(routes.target) >= (1500 if guard_off is None else 1501))
    if guard_off is None:
        assert second.poll() is None  # without the guard, either may find the other's commits in its way
    assert (routes.times_routed() == routes.all_once()) is (guard_off is None)


def test_what_kafka_has_forgotten_of_the_target_is_read_back_from_raw(routes):
    send_records(routes.source, 300)
    settings, target = routes.settings, routes.target.domain
    domains = {"source": routes.source.domain}
    stop = threading.Event()
    _until_stopped(Router(settings, target, domains, stop).run, stop, lambda: count_log(routes.target) == 300)
    watch = TopicWatch(settings, target.topic)
    topic = watch.now()
    whole = read_back(settings, target, topic, {}, watch)
    raw, stop = Raw(settings, target), threading.Event()
    raw.create(topic.id)
    lander = Lander(settings, target, raw, stop)
    _until_stopped(lander.run, stop, lambda: sum(raw.positions(raw.table()).values()) == 300)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    deleted = admin.delete_records([TopicPartition(topic.name, p, end // 2) for p, end in watch.ends(topic).items()])
    assert all(future.result() for future in deleted.values())
    assert min(watch.begins(topic).values()) > 0
    assert read_back(settings, target, topic, {}, watch) == whole
    assert len(whole) == 300


def test_without_the_table_of_positions_nothing_is_routed_twice(routes):
    domains = {"source": routes.source.domain}
    for bucket, count in ((routes.settings.bucket, 300), (f"{routes.settings.bucket}-2", 400)):
        settings = routes.settings.model_copy(update={"bucket": bucket})
        create_bucket(settings)
        send_records(routes.source, count - sum(routes.times_routed().values()))
        stop = threading.Event()
        router = Router(settings, routes.target.domain, domains, stop)
        _until_stopped(router.run, stop, lambda count=count: count_log(routes.target) >= count)
    assert routes.times_routed() == routes.all_once()


def _until_stopped(work: Callable[[], None], stop: threading.Event, condition: Callable[[], bool]) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            wait_for(condition)
        finally:
            stop.set()
        running.result(30)


def test_of_two_that_claim_the_same_routes_one_gets_them(sandbox):
    target = declare(sandbox.settings, "target").domain
    topic = Topic("target", "an id", (0, 1))
    one, other = (Progress(sandbox.settings, target, topic) for _ in range(2))
    one.claim(0, lambda: {0: 5, 1: 7}, threading.Event())
    with pytest.raises(RouteTaken, match="has moved on"):
        other.claim(0, lambda: {}, threading.Event())
    source = Topic("source", "another id", (0, 1, 2))
    one.advance({source: {0: 10, 2: 30}}, {0: 6, 1: 7})
    one.release()
    later = Progress(sandbox.settings, target, topic)
    later.claim(0, lambda: {}, threading.Event())
    assert (later.of(source), later.of(topic)) == ({0: 10, 2: 30}, {0: 6, 1: 7})
    with pytest.raises(RouteTaken, match="has taken over"):
        one.check()


def test_a_target_made_anew_and_a_domain_without_sources_are_said_so(sandbox):
    target = declare(sandbox.settings, "target").domain
    Progress(sandbox.settings, target, Topic("target", "an id", (0,)))
    with pytest.raises(LogRecreated, match="has id new, but routes/target is about an id"):
        Progress(sandbox.settings, target, Topic("target", "new", (0,)))
    with pytest.raises(BadDomain, match="domain 'target' has no sources"):
        Router(sandbox.settings, target, {}, threading.Event())
