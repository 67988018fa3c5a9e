"""Raw holds every record of the log exactly once, whoever lands and whatever dies."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from lake.errors import LogRecreated
from lake.log import Log
from lake.raw import Raw
from streaming.land import Lander
from tests.streaming.landed import landed, times_landed
from tests.streaming.routes import declare

QUICK = {"TIDEMARK_LAND_INTERVAL_SECONDS": "0.1"}


def count(sandbox) -> int:
    return sum(landed(sandbox).values())


def test_each_record_lands_once_though_two_landers_run_and_are_killed(sandbox, send, workers, until, read_log):
    landers = [workers.start("streaming.land", sandbox, **QUICK) for _ in range(2)]
    kills = 0
    for seed in range(3):
        before = count(sandbox)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send, sandbox, 20_000, seed)
            until(lambda before=before: count(sandbox) > before)
            landers[seed % 2].kill()
            kills += 1
            landers[seed % 2] = workers.start("streaming.land", sandbox, **QUICK)
            sending.result()
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: landed(sandbox) == {p: offset for p, offset in end.items() if offset})
    workers.stop()
    times = times_landed(sandbox)
    refused = workers.logs().count("comparing with raw")
    print(f"{kills} kills, {len(times)} records, {refused} refused or failed commits")
    assert times == {(p, offset): 1 for p, stop in end.items() for offset in range(stop)}
    raw = Raw(sandbox.settings, sandbox.domain)
    order = [("partition", "ascending"), ("offset", "ascending")]
    assert pa.concat_tables(raw.scan({}, end)).sort_by(order) == read_log(sandbox).sort_by(order)


class MeetingRaw(Raw):
    """Two landers that have read the same records come to their first commit together."""

    both: threading.Barrier
    met = False

    def append(self, table, rows, positions):
        if not self.met:
            self.met = True
            self.both.wait(20)
        self.commit(table, rows, positions)

    def commit(self, table, rows, positions):
        super().append(table, rows, positions)


class UnguardedRaw(MeetingRaw):
    """The guard off: commits from a table that is fresh, not from the one whose positions were read."""

    one_by_one = threading.Lock()

    def commit(self, table, rows, positions):
        with self.one_by_one:
            Raw.append(self, self.table(), rows, positions)


def land_twice_at_once(kind, sandbox, until) -> Counter:
    kind.both = threading.Barrier(2)
    stop = threading.Event()
    end = Log(sandbox.settings, sandbox.domain).end()
    with ThreadPoolExecutor(2) as pool:
        landers = [
            pool.submit(Lander(sandbox.settings, sandbox.domain, kind(sandbox.settings, sandbox.domain), stop).run)
            for _ in range(2)
        ]
        try:
            until(lambda: sum(times_landed(sandbox).values()) >= sum(end.values()) and landed(sandbox) == end)
        finally:
            stop.set()
        for lander in landers:
            lander.result(30)
    return times_landed(sandbox)


@pytest.mark.parametrize("kind, highest", [(MeetingRaw, 1), (UnguardedRaw, 2)], ids=["guarded", "negative_control"])
def test_of_two_landers_with_the_same_records_one_lands_them(make_sandbox, send, until, kind, highest):
    sandbox = make_sandbox(partitions=2)
    Raw(sandbox.settings, sandbox.domain).create(Log(sandbox.settings, sandbox.domain).topic_id())
    send(sandbox, 2_000)
    times = land_twice_at_once(kind, sandbox, until)
    assert max(times.values()) == highest


def test_landers_share_a_domains_partitions_as_groups_and_are_not_in_each_others_way(sandbox, send, workers, until):
    options = [["--groups", "2", "--group", str(group)] for group in range(2)]
    landers = [workers.start("streaming.land", sandbox, *each, **QUICK) for each in options]
    send(sandbox, 10_000)
    until(lambda: count(sandbox) > 5_000)
    landers[1].kill()
    send(sandbox, 2_000, seed=2)
    end = {p: offset for p, offset in Log(sandbox.settings, sandbox.domain).end().items() if offset}
    until(lambda: {p: at for p, at in landed(sandbox).items() if p % 2 == 0} == {p: end[p] for p in end if p % 2 == 0})
    assert any(landed(sandbox).get(p, 0) < end[p] for p in end if p % 2), (
        "the one that runs has landed the other's share"
    )
    landers[1] = workers.start("streaming.land", sandbox, *options[1], **QUICK)
    until(lambda: landed(sandbox) == end)
    assert set(times_landed(sandbox).values()) == {1}
    assert "at work" not in workers.logs() and "failed" not in workers.logs()


def test_partitions_that_are_added_while_it_runs_are_landed_from_their_beginning(sandbox, send, workers, until):
    lander = workers.start("streaming.land", sandbox, **QUICK)
    send(sandbox, 500)
    until(lambda: count(sandbox) == 500)
    admin = AdminClient({"bootstrap.servers": sandbox.settings.kafka_bootstrap})
    admin.create_partitions([NewPartitions(sandbox.domain.topic, 6)])[sandbox.domain.topic].result()
    until(lambda: Log(sandbox.settings, sandbox.domain).partitions() == 6)
    send(sandbox, 500, seed=2)
    until(lambda: count(sandbox) == 1000)
    assert set(landed(sandbox)) == set(range(6))
    lander.terminate()
    assert lander.wait(30) == 0


def test_a_topic_made_anew_stops_the_lander_by_name(sandbox, send, workers, until):
    send(sandbox, 500)
    lander = workers.start("streaming.land", sandbox, **QUICK)
    until(lambda: count(sandbox) == 500)
    admin, name = AdminClient({"bootstrap.servers": sandbox.settings.kafka_bootstrap}), sandbox.domain.topic
    admin.delete_topics([name])[name].result()
    until(lambda: name not in admin.list_topics().topics)
    config = {"message.timestamp.type": "LogAppendTime"}
    until(lambda: _created(admin, NewTopic(name, 4, 1, config=config)))
    send(sandbox, 600, seed=2)
    assert lander.wait(30) == 2
    assert "LogRecreated" in workers.logs()
    with pytest.raises(LogRecreated):
        Lander(sandbox.settings, sandbox.domain, Raw(sandbox.settings, sandbox.domain), threading.Event()).run()
    assert sum(times_landed(sandbox).values()) == 500


def test_a_domain_that_cannot_go_on_ends_the_process_that_lands_others_too(sandbox, workers):
    other = declare(sandbox.settings, "other")
    Raw(other.settings, other.domain).create("the id of another topic")
    lander = workers.start("streaming.land", sandbox, "--domain", "other", **QUICK)
    assert lander.wait(60) == 2
    assert "LogRecreated" in workers.logs() and "failed=['other']" in workers.logs()


def _created(admin, topic: NewTopic) -> bool:
    return admin.create_topics([topic])[topic.topic].exception() is None
