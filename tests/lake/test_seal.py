"""A sealed cut is the same for ever, and what is not sealed is not taken for a cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient, NewPartitions

from lake.cuts import EPOCH, epoch_ms, from_ms, segment_start
from lake.errors import LogRecreated, NotSealed
from lake.log import Log
from lake.raw import Raw
from lake.seal import seal
from streaming.produce import EventProducer
from tests.faults.parts import Worker, wait_for


@pytest.fixture
def landing(make_sandbox, tmp_path: Path) -> Iterator:
    """A sandbox with segments of one second, whose log is being landed."""
    sandbox = make_sandbox(partitions=2, segment_seconds=1, land_interval_seconds=0.2)
    lander = Worker("streaming.land", sandbox.domain.name, sandbox.environment, tmp_path / "land.log")
    lander.start()
    yield sandbox
    lander.kill()


def send(sandbox, count: int) -> None:
    producer = EventProducer(sandbox.settings, sandbox.domain.topic)
    for number in range(count):
        producer.send(b"key-%d" % number, b"{}", "good")
    producer.close()


def boundary(sandbox):
    """The first segment boundary that lies ahead."""
    seconds = sandbox.settings.segment_seconds
    return from_ms(segment_start(time.time_ns() // 1_000_000, seconds) + seconds * 1000)


def first_offsets(raw: Raw, t) -> dict[int, int]:
    """cut(t) by plain Python over every record of raw."""
    first: dict[int, int] = {}
    table = raw.table()
    for rows in raw.scan({}, raw.positions(table), table):
        for row in rows.select(["partition", "offset", "append_time"]).to_pylist():
            if row["append_time"] >= t:
                first[row["partition"]] = min(row["offset"], first.get(row["partition"], row["offset"]))
    return {p: offset for p, offset in first.items() if offset}


def test_a_sealed_cut_is_the_first_offset_from_t_on_and_never_changes(landing) -> None:
    raw = Raw(landing.settings, landing.domain)
    send(landing, 50)
    t = boundary(landing)
    cut = seal(landing.settings, landing.domain, t)
    assert cut == first_offsets(raw, t)
    assert sum(cut.values()) >= 50
    send(landing, 50)
    later = boundary(landing)
    assert seal(landing.settings, landing.domain, later) != cut
    assert raw.cut(t) == seal(landing.settings, landing.domain, t) == cut
    assert raw.cut(EPOCH) == {}


def test_a_cut_without_its_seal_is_refused_even_if_raw_reaches_beyond_it(landing) -> None:
    raw = Raw(landing.settings, landing.domain)
    t = boundary(landing)
    wait_for(lambda: time.time_ns() // 1_000_000 > epoch_ms(t), "the boundary")
    send(landing, 50)
    end = Log(landing.settings, landing.domain).end()
    raw.await_positions(end, 60)
    with pytest.raises(NotSealed, match="tidemark seal"):
        raw.cut(t)


def test_a_partition_that_is_made_later_has_no_part_in_an_earlier_cut(landing) -> None:
    send(landing, 50)
    t = boundary(landing)
    cut = seal(landing.settings, landing.domain, t)
    admin = KafkaAdminClient(bootstrap_servers=landing.settings.kafka_bootstrap)
    admin.create_partitions({landing.domain.topic: NewPartitions(3)})
    admin.close()
    wait_for(lambda: Log(landing.settings, landing.domain).partitions() == 3, "the third partition")
    send(landing, 90)
    later = seal(landing.settings, landing.domain, boundary(landing))
    assert later.keys() == {0, 1, 2}
    assert Raw(landing.settings, landing.domain).cut(t) == cut


def test_a_time_that_is_no_boundary_or_far_ahead_is_refused(landing) -> None:
    t = boundary(landing)
    with pytest.raises(NotSealed, match="inside a segment"):
        seal(landing.settings, landing.domain, t + timedelta(milliseconds=1))
    with pytest.raises(NotSealed, match="in the future"):
        seal(landing.settings, landing.domain, t + timedelta(hours=1))


def test_a_seal_without_a_lander_says_so(make_sandbox) -> None:
    sandbox = make_sandbox(segment_seconds=1, seal_timeout_seconds=3)
    Raw(sandbox.settings, sandbox.domain).create(Log(sandbox.settings, sandbox.domain).topic_id())
    with pytest.raises(NotSealed, match="is the lander running"):
        seal(sandbox.settings, sandbox.domain, boundary(sandbox))


def test_raw_of_another_topic_is_not_gone_on_with(sandbox) -> None:
    raw = Raw(sandbox.settings, sandbox.domain)
    raw.create("one")
    with pytest.raises(LogRecreated, match="was made anew"):
        raw.create("another")
