"""A topic that was made anew goes on where raw ends, and the answers with it; what would be lost is refused by name."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError

from jobs.tile import commit_tile, take_turn
from lake import restore as steps
from lake.batches import BatchClient
from lake.cuts import EPOCH, Cut, covers, from_ms, segment_start
from lake.errors import LogRecreated, NotLogAppendTime, RestoreRefused
from lake.fillers import MOST, filler_batch
from lake.kernel import QUARANTINE, Kernel
from lake.log import Log
from lake.marts import Manifest, mart_uri
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.registry import Registry
from lake.restore import Restore, restore
from lake.seal import seal
from lake.serving import Serving
from lake.store import SpeedStore
from lake.tables import filesystem
from lake.verify import verify
from local.await_provision import missing_raw, missing_topic
from local.provision import provision
from streaming.events.shop import shop_events
from streaming.group_reader import GroupReader
from streaming.land import Lander
from streaming.log_reader import LogReader
from streaming.pipeline import frontier
from streaming.produce import EventProducer
from streaming.states import SegmentStates
from streaming.topic import TopicWatch
from tests.reference import Reference
from tests.streaming.conftest import ROOT, SHARES, wait_for

SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
VIEWS = ("revenue_by_country_hour", "visitors_by_page_minute")


def delete_topic(sandbox) -> None:
    """As if Kafka were a new one: all that it knew of the topic is gone."""
    admin = KafkaAdminClient(bootstrap_servers=sandbox.settings.kafka_bootstrap)
    admin.delete_topics([sandbox.domain.topic])
    wait_for(lambda: sandbox.domain.topic not in admin.list_topics())
    admin.close()


def intrude(sandbox, partition: int, count: int = 1) -> None:
    """Somebody appends records."""
    producer = Producer({"bootstrap.servers": sandbox.settings.kafka_bootstrap, "message.timeout.ms": 20_000})
    for number in range(count):
        producer.produce(sandbox.domain.topic, b'{"event_id": "%d"}' % number, b"k", partition)
    assert producer.flush(30) == 0


def fill(sandbox, partition: int, count: int) -> None:
    """Fillers from the beginning on, as a restore appends them; a topic that is new may have no leader yet."""
    with closing(BatchClient(sandbox.settings, sandbox.domain.topic)) as client:

        def appended() -> bool:
            with suppress(RetriableError):
                return client.append(partition, filler_batch(count, 5)) == 0
            return False

        wait_for(appended, 30)


def stands_at(sandbox, wanted: Cut) -> None:
    """The topic is empty, and its next records get these offsets; it is raw's own."""
    log, raw = Log(sandbox.settings, sandbox.domain), Raw(sandbox.settings, sandbox.domain)
    at = {p: wanted.get(p, 0) for p in range(log.partitions())}
    assert log.begin() == log.end() == at
    assert covers(at, wanted) and log.has_append_time()
    table = raw.table()
    assert raw.topic_id(table) == log.topic_id() and raw.positions(table) == wanted


@pytest.fixture
def old_raw(make_sandbox) -> Callable[..., object]:
    """old_raw(positions): a sandbox with such a raw, and no topic. It has no rows but one of each partition."""

    def make(positions: Cut):
        sandbox = make_sandbox(partitions=2)
        delete_topic(sandbox)
        raw = Raw(sandbox.settings, sandbox.domain)
        raw.create("old")
        row = {"append_time": EPOCH, "key": b"k", "value": b"{}", "headers": []}
        rows = [{"partition": p, "offset": end - 1, **row} for p, end in positions.items()]
        raw.append(raw.table(), pa.Table.from_pylist(rows, RAW_SCHEMA), positions)
        return sandbox

    return make


@dataclass
class Platform:
    """Producer, lander, speed layer and builds of one sandbox; all of it can stop and begin again."""

    sandbox: object
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(SEED, SEED + 1000)))
    lines: list[dict] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        settings, domain = self.sandbox.settings, self.sandbox.domain
        self.stop_asked = threading.Event()
        lander = Lander(settings, domain, Raw(settings, domain), self.stop_asked)
        self.threads = [threading.Thread(target=self._guarded, args=[run]) for run in (lander.run, self._speed)]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        if self.threads:
            self.stop_asked.set()
        for thread in self.threads:
            thread.join(30)

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self.failed.append(error)

    def _speed(self) -> None:
        settings, domain = self.sandbox.settings, self.sandbox.domain
        kernel = Kernel(domain)
        store = SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)
        reader = GroupReader(settings, domain, store, lambda: frontier(settings, domain, kernel))
        states = SegmentStates(store, kernel, tuple(domain.stored_views))
        while not self.stop_asked.is_set():
            chunk = reader.poll(0.05)
            if chunk is not None and states.put(chunk):
                reader.close()
        reader.close()

    def send(self, count: int) -> None:
        """Events that were acknowledged, late ones and bad ones among them."""
        ledger = self.sandbox.settings.domains_dir / "ledger"
        with ledger.open("w") as file:
            producer = EventProducer(self.sandbox.settings, self.sandbox.domain.topic, file)
            clock = lambda: time.time_ns() // 1_000_000  # noqa: E731
            for record in islice(shop_events(next(self.seeds), SHARES, clock, history_ms=600_000), count):
                producer.send(*record)
            producer.close()
        self.lines += map(json.loads, ledger.read_text().splitlines())

    def await_head(self) -> None:
        serving, end = self._serving(), Log(self.sandbox.settings, self.sandbox.domain).end()
        Raw(self.sandbox.settings, self.sandbox.domain).await_positions(end, 60)
        wait_for(lambda: not self.failed and serving.answer(VIEWS[0]).head == end, 60)

    def build(self) -> datetime:
        """The next slice, as `jobs.build_mart` would, but by the kernel alone."""
        settings, domain = self.sandbox.settings, self.sandbox.domain
        seconds = settings.segment_seconds
        t1 = from_ms(segment_start(time.time_ns() // 1_000_000, seconds) + seconds * 1000)
        end, raw, kernel = seal(settings, domain, t1), Raw(settings, domain), Kernel(domain)
        pins = Serving(settings, domain).pin().marts
        for view in [*domain.stored_views, QUARANTINE]:
            t0, start, parts = pins[view].frontier, pins[view].cut, []
            for rows in raw.scan(start, end):
                kernel.parse(rows)
                parts.append(kernel.aggregate(names=[view])[view])
            states = kernel.merge(view, parts)
            manifest = Manifest(
                t0=t0, t1=t1, cut_start=start, cut_end=end, definition_hash=kernel.definition_hash(view),
                rows=len(states), build_id="test",
                **dict.fromkeys(("events", "good", "quarantined", "markers"), 0),
            )  # fmt: skip
            uri = mart_uri(settings, domain.name, view, kernel.definition_hash(view))
            commit_tile(settings, take_turn(settings, uri, manifest), states.schema, states)
        return t1

    def check(self, frontier: datetime) -> None:
        """What is served is what plain Python finds in all that was acknowledged, old topic and new; verify, too."""
        self.await_head()
        reference = Reference(line["event"] for line in self.lines if line["kind"] == "good")
        serving = self._serving()
        for view in VIEWS:
            answer = serving.answer(view)
            rows = zip(*(column.to_pylist() for column in answer.merged.columns), strict=True)
            assert {row[:2]: row[2:] for row in rows} == reference.states(view)
            assert answer.frontier == frontier and len(answer.batch) and len(answer.speed)
        report = verify(self.sandbox.settings, self.sandbox.domain)
        assert report.ok, report.problems

    def _serving(self) -> Serving:
        return Serving(self.sandbox.settings, self.sandbox.domain)


@pytest.fixture
def platform(make_sandbox) -> Iterator[Platform]:
    print(f"TEST_SEED={SEED}")
    sandbox = make_sandbox(partitions=3, segment_seconds=1, land_interval_seconds=0.2)
    platform = Platform(sandbox)
    provision(sandbox.settings, sandbox.domain)
    platform.start()
    yield platform
    platform.stop()


def test_after_a_restore_all_goes_on_and_every_answer_is_right(platform: Platform) -> None:
    sandbox = platform.sandbox
    settings, domain = sandbox.settings, sandbox.domain
    platform.send(3_000)
    first = platform.build()
    platform.send(2_000)
    platform.check(first)
    platform.stop()
    held = Raw(settings, domain).positions(Raw(settings, domain).table())
    delete_topic(sandbox)
    with pytest.raises(LogRecreated, match=f"tidemark restore {domain.name}"):
        provision(settings, domain)
    assert not Log(settings, domain).exists(), "producers would have begun"

    provision(settings, domain, restoring=True)
    stands_at(sandbox, held)
    assert missing_topic(settings, domain) is missing_raw(settings, domain) is None
    assert not restore(settings, domain).is_done
    provision(settings, domain)

    platform.start()
    platform.send(2_000)
    platform.check(first)
    second = platform.build()
    platform.send(1_000)
    platform.check(second)
    assert not platform.failed


def test_a_restore_that_is_killed_while_it_fills_goes_on_when_it_is_run_again(old_raw, capsys) -> None:
    wanted = {0: 3_000_000, 1: 2_000_000}
    sandbox = old_raw(wanted)
    log = Log(sandbox.settings, sandbox.domain)
    command = [sys.executable, "-m", "lake.cli", "restore", sandbox.domain.name, "--json"]
    how = {"cwd": ROOT, "env": sandbox.environment, "stdout": subprocess.PIPE, "text": True}
    killed = subprocess.Popen(command, **how)
    wait_for(lambda: log.exists() and max(log.end().values()) > 0)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = sum(log.end().values())
    assert 0 < before < sum(wanted.values())
    assert "is not ready" in (missing_topic(sandbox.settings, sandbox.domain) or "")
    assert "restore" in (missing_raw(sandbox.settings, sandbox.domain) or "")
    done = json.loads(subprocess.run(command, check=True, **how).stdout)
    with capsys.disabled():
        print(f"\n{before} fillers before the kill, {done['filled']} after it in {done['seconds']:.1f} s")
    assert done["is_done"] and done["filled"] <= sum(wanted.values()) - before
    stands_at(sandbox, wanted)
    assert not restore(sandbox.settings, sandbox.domain).is_done


class Killed(BaseException):
    """As if the process had ended here."""


def test_a_restore_that_ends_before_or_after_any_step_is_gone_on_with_by_the_next(old_raw, monkeypatch) -> None:
    wanted = {0: 1, 2: 700}
    sandbox = old_raw(wanted)
    for place, name in ((Log, "add_partitions"), (steps, "note_empty"), (Log, "delete_before"), (steps, "follow")):
        for after in (False, True):
            with monkeypatch.context() as patched, pytest.raises(Killed):
                patched.setattr(place, name, killed_at(getattr(place, name), after))
                restore(sandbox.settings, sandbox.domain)
    assert not restore(sandbox.settings, sandbox.domain).is_done
    stands_at(sandbox, wanted)


def killed_at(step: Callable[..., None], after: bool) -> Callable[..., None]:
    def killed(*arguments: object) -> None:
        if after:
            step(*arguments)
        raise Killed

    return killed


def test_the_next_record_gets_the_offset_at_which_raw_ends_in_batches_and_rounds(old_raw, monkeypatch) -> None:
    wanted = {0: 1, 1: MOST, 3: MOST + 1, 4: 3 * MOST - 1}
    sandbox = old_raw(wanted)
    monkeypatch.setattr("lake.restore._A_ROUND", 4 * MOST + 4)
    done = restore(sandbox.settings, sandbox.domain)
    assert done.filled == sum(wanted.values())
    stands_at(sandbox, wanted)
    for partition in range(5):
        intrude(sandbox, partition)
    assert Log(sandbox.settings, sandbox.domain).end() == {p: wanted.get(p, 0) + 1 for p in range(5)}


def appended_before(sandbox, monkeypatch) -> None:
    Log(sandbox.settings, sandbox.domain).create_topic()
    intrude(sandbox, 1, 5)


def appended_meanwhile(sandbox, monkeypatch) -> None:
    """After the first batch of fillers."""
    plain, done = BatchClient.append, []

    def append(client, partition: int, batch: bytes) -> int:
        first = plain(client, partition, batch)
        if partition == 1 and not done:
            done.append(first)
            intrude(sandbox, 1, 5)
        return first

    monkeypatch.setattr(BatchClient, "append", append)


@pytest.mark.parametrize("when", [appended_before, appended_meanwhile])
def test_what_somebody_appended_before_the_topic_was_ready_is_not_lost(old_raw, monkeypatch, when) -> None:
    sandbox = old_raw({0: 10, 1: MOST + 20})
    log, raw = Log(sandbox.settings, sandbox.domain), Raw(sandbox.settings, sandbox.domain)
    when(sandbox, monkeypatch)
    for _ in range(2):
        with pytest.raises(RestoreRefused, match=r"partition 1 holds 5 records.*delete the topic") as refused:
            restore(sandbox.settings, sandbox.domain)
        assert sandbox.domain.topic in str(refused.value)
        assert log.begin()[1] == 0 and raw.topic_id(raw.table()) == "old"
    delete_topic(sandbox)
    restore(sandbox.settings, sandbox.domain)
    stands_at(sandbox, {0: 10, 1: MOST + 20})


@pytest.mark.parametrize("when", [appended_before, appended_meanwhile])
def test_without_the_proof_those_records_are_lost(old_raw, monkeypatch, when) -> None:
    wanted = {0: 10, 1: MOST + 20}
    sandbox = old_raw(wanted)
    when(sandbox, monkeypatch)
    Restore(sandbox.settings, sandbox.domain, lambda line: None, check=False).run()
    log, raw = Log(sandbox.settings, sandbox.domain), Raw(sandbox.settings, sandbox.domain)
    assert log.begin() == raw.positions(raw.table()) == wanted
    assert raw.topic_id(raw.table()) == log.topic_id()


@pytest.mark.parametrize("held", [0, 10])
def test_records_that_came_behind_raws_end_while_the_topic_was_filled_are_refused(old_raw, held: int) -> None:
    sandbox = old_raw({0: 10, 1: held} if held else {0: 10})
    Log(sandbox.settings, sandbox.domain).create_topic(append_time=False)
    if held:
        fill(sandbox, 1, held)
    intrude(sandbox, 1, 3)
    with pytest.raises(RestoreRefused, match=rf"partition 1 holds 3 records behind offset {held} that came while"):
        restore(sandbox.settings, sandbox.domain)


def test_records_that_came_once_the_topic_was_ready_are_kept(old_raw, monkeypatch) -> None:
    sandbox = old_raw({0: 10, 1: 10})
    log = Log(sandbox.settings, sandbox.domain)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(steps, "follow", killed_at(steps.follow, after=False))
        restore(sandbox.settings, sandbox.domain)
    intrude(sandbox, 1, 3)
    assert restore(sandbox.settings, sandbox.domain).is_done
    assert log.begin() == {0: 10, 1: 10} and log.end() == {0: 10, 1: 13}


def test_a_log_that_begins_where_no_run_let_it_is_refused(old_raw) -> None:
    sandbox = old_raw({0: 10, 1: 10})
    log = Log(sandbox.settings, sandbox.domain)
    log.create_topic()
    intrude(sandbox, 0, 10)
    log.delete_before({0: 10})
    with pytest.raises(RestoreRefused, match=r"partition 0 begins at offset 10, expected at most 0: .*nobody looked"):
        restore(sandbox.settings, sandbox.domain)


def test_while_a_topic_is_filled_every_reader_stops_by_name(old_raw) -> None:
    sandbox = old_raw({0: 10})
    Log(sandbox.settings, sandbox.domain).create_topic(append_time=False)
    fill(sandbox, 0, 5)
    topic = TopicWatch(sandbox.settings, sandbox.domain.topic).now()
    reader = LogReader(sandbox.settings, topic, {0: 0})
    with pytest.raises(NotLogAppendTime):
        while reader.poll(10, 1 << 20, 1) is None:
            pass
    reader.close()


def test_fillers_that_a_broker_gives_out_again_are_deleted_by_the_next_run(old_raw, monkeypatch) -> None:
    """A broker that is killed within a minute of a deletion may not remember it."""
    sandbox = old_raw({0: 10, 1: 20})
    log = Log(sandbox.settings, sandbox.domain)
    with monkeypatch.context() as patched:
        patched.setattr(Log, "delete_before", lambda *_: None)
        restore(sandbox.settings, sandbox.domain)
    intrude(sandbox, 1, 3)
    assert log.begin() == {0: 0, 1: 0}
    assert not restore(sandbox.settings, sandbox.domain).is_done
    assert log.begin() == {0: 10, 1: 20} and log.end() == {0: 10, 1: 23}


def test_a_lander_of_the_old_topic_that_still_lands_is_noticed(old_raw, monkeypatch) -> None:
    sandbox = old_raw({0: 10, 1: 20})
    raw, plain = Raw(sandbox.settings, sandbox.domain), Raw.positions
    row = {"partition": 1, "offset": 20, "append_time": EPOCH, "key": b"k", "value": b"{}", "headers": []}
    rows = pa.Table.from_pylist([row], RAW_SCHEMA)
    looks = []

    def positions(self, table) -> Cut:
        """Between the look before the last step and that step, one record more is landed."""
        found = plain(self, table)
        looks.append(found)
        if len(looks) == 2:
            raw.append(raw.table(), rows, {1: 21})
        return found

    with monkeypatch.context() as patched, pytest.raises(RestoreRefused, match="stop that lander"):
        patched.setattr(Raw, "positions", positions)
        restore(sandbox.settings, sandbox.domain)
    restore(sandbox.settings, sandbox.domain)
    stands_at(sandbox, {0: 10, 1: 21})


def test_a_mart_that_reaches_beyond_raw_is_refused(old_raw) -> None:
    sandbox = old_raw({0: 10, 1: 10})
    kernel, view = Kernel(sandbox.domain), VIEWS[0]
    Registry(sandbox.settings).declare(sandbox.domain)
    manifest = Manifest(
        t0=EPOCH, t1=from_ms(60_000), cut_start={}, cut_end={0: 10, 1: 11},
        definition_hash=kernel.definition_hash(view), rows=0, build_id="test",
        **dict.fromkeys(("events", "good", "quarantined", "markers"), 0),
    )  # fmt: skip
    uri = mart_uri(sandbox.settings, sandbox.domain.name, view, kernel.definition_hash(view))
    empty = kernel.merge(view, [])
    commit_tile(sandbox.settings, take_turn(sandbox.settings, uri, manifest), empty.schema, empty)
    with pytest.raises(RestoreRefused, match=r"Copy raw/ again"):
        restore(sandbox.settings, sandbox.domain)


def test_a_raw_whose_files_are_not_all_copied_yet_is_refused(old_raw) -> None:
    sandbox = old_raw({0: 10, 1: 10})
    raw = Raw(sandbox.settings, sandbox.domain)
    [file] = raw.files(raw.table())
    filesystem(sandbox.settings).delete_file(f"{raw.uri}/{file.path}".removeprefix("s3://"))
    with pytest.raises(RestoreRefused, match=r"lacks 1 of its files.*not copied yet"):
        restore(sandbox.settings, sandbox.domain)
    assert not Log(sandbox.settings, sandbox.domain).exists()


def test_without_raw_there_is_nothing_to_restore_and_nothing_is_made(make_sandbox) -> None:
    sandbox = make_sandbox()
    delete_topic(sandbox)
    for attempt in (restore, partial(provision, restoring=True)):
        with pytest.raises(RestoreRefused, match="nothing to restore"):
            attempt(sandbox.settings, sandbox.domain)
        assert not Log(sandbox.settings, sandbox.domain).exists()
