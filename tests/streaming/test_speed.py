"""The store's states equal one kernel call over the log, whatever is killed, doubled or lost on the way."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
import redis
import yaml
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from lake.domain import read_domain
from lake.errors import BadSettings
from lake.kernel import Kernel, decode
from lake.log import Log
from lake.registry import Registry, written
from streaming.group_reader import GroupReader
from streaming.log_reader import Batch
from streaming.pieces import split
from streaming.prism import prism
from streaming.speed import OTHER_GENERATIONS
from streaming.states import SegmentStates
from tests.conftest import Sandbox


def heads(store) -> dict[int, int]:
    return {p: head.next_offset for p, head in store.snapshot().heads.items()}


def put_count(store) -> int:
    return sum(heads(store).values())


def stored(store) -> tuple[dict, dict]:
    """As `Expected`: ranges and decoded states."""
    segments = store.snapshot().segments
    ranges = {key: (s.first, s.next) for key, s in segments.items()}
    return ranges, {key: {v: decode(state) for v, state in s.states.items()} for key, s in segments.items()}


def reader(sandbox, store, **options) -> GroupReader:
    return GroupReader(sandbox.settings, sandbox.domain, store, lambda: ({}, {}), **options)


def states(sandbox, store) -> SegmentStates:
    return SegmentStates(store, Kernel(sandbox.domain), tuple(sandbox.domain.stored_views))


def next_chunk(group_reader):
    while (chunk := group_reader.poll(0.5)) is None:
        pass
    return chunk


def catch_up(sandbox, store, group_reader, putter) -> int:
    """What the pipeline does, without a runner, up to the log's end; how many chunks the store refused."""
    end, refusals = Log(sandbox.settings, sandbox.domain).end(), 0
    while heads(store) != end:
        chunk = group_reader.poll(0.1)
        if chunk is not None and putter.put(chunk):
            refusals += 1
            group_reader.close()
    return refusals


def next_segment(sandbox) -> None:
    """Wait for the clock to come to the next segment."""
    segment_ms = sandbox.settings.segment_seconds * 1000
    now = time.time_ns() // 1_000_000
    time.sleep((segment_ms - now % segment_ms + 20) / 1000)


def assert_equal(store, expected) -> None:
    ranges, found = stored(store)
    assert ranges == expected.ranges
    assert found == expected.states


@pytest.fixture
def short_segments(make_sandbox):
    """A sandbox with segments of a second, so that a test sees several."""
    return make_sandbox(segment_seconds=1)


def test_killed_mid_backlog_and_restarted_the_speed_job_is_exact(
    short_segments, send, workers, until, speed_store, expected
):
    sandbox, store = short_segments, speed_store(short_segments)
    send(sandbox, 60_000)
    kills = 0
    while kills < 2:
        before, job = put_count(store), workers.start("streaming.speed", sandbox)
        until(lambda before=before: put_count(store) > before)
        children = psutil.Process(job.pid).children(recursive=True)
        job.kill()
        kills += put_count(store) < 60_000
        until(lambda children=children: not any(child.is_running() for child in children), 10)
        if put_count(store) == 60_000:
            send(sandbox, 60_000, seed=kills + 2)  # too fast to be killed: more to do
    workers.start("streaming.speed", sandbox)
    send(sandbox, 2_000, seed=9)
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: heads(store) == end)
    print(f"{kills} kills in the backlog, {sum(end.values())} events, {len(store.snapshot().segments)} segments")
    assert_equal(store, expected(sandbox))


def test_a_topic_made_anew_stops_the_speed_job_by_name(sandbox, send, workers, until, speed_store):
    send(sandbox, 500)
    job, store = workers.start("streaming.speed", sandbox), speed_store(sandbox)
    until(lambda: put_count(store) == 500)
    admin, name = AdminClient({"bootstrap.servers": sandbox.settings.kafka_bootstrap}), sandbox.domain.topic
    admin.delete_topics([name])[name].result()
    assert job.wait(60) == 1
    assert "LogRecreated" in workers.logs()


def test_two_speed_jobs_at_once_fence_each_other_and_the_store_is_exact(
    short_segments, send, workers, until, speed_store, expected
):
    sandbox, store = short_segments, speed_store(short_segments)
    jobs = [workers.start("streaming.speed", sandbox) for _ in range(2)]
    sent = 0
    while "stands elsewhere" not in workers.logs():
        sent += 1
        assert sent < 300, "no chunk was refused"
        send(sandbox, 2_000, seed=sent)
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: heads(store) == end)
    for job in jobs:
        job.terminate()
        assert job.wait(30) == 0
    print(f"{workers.logs().count('stands elsewhere')} chunks refused, {sum(end.values())} events")
    assert_equal(store, expected(sandbox))


def test_one_speed_job_keeps_two_domains_and_begins_anew_when_a_version_has_to_be_kept_too(
    short_segments, make_sandbox, send, workers, until, speed_store, expected
):
    one, another = short_segments, make_sandbox(segment_seconds=1)
    name = another.domain.name
    shutil.copy(another.settings.domains_dir / f"{name}.yaml", one.settings.domains_dir)
    other = Sandbox(one.settings, another.domain)

    def are_exact(*sandboxes: Sandbox) -> None:
        for sandbox in sandboxes:
            end, store = Log(sandbox.settings, sandbox.domain).end(), speed_store(sandbox)
            until(lambda end=end, store=store: heads(store) == end)
            assert_equal(store, expected(sandbox))

    for number, sandbox in enumerate((one, other)):
        send(sandbox, 3_000, seed=number)
    registry = Registry(one.settings)
    registry.declare(one.domain)
    job = workers.start("streaming.speed", one, "--domain", name)
    are_exact(one, other)
    content = yaml.safe_load(written(one.domain))
    content["views"]["revenue_by_country_hour"]["where"] = "event_type = 'login'"
    version = registry.declare(read_domain(content, "changed.yaml"))
    registry.built(one.domain.name, version.number)
    assert job.wait(60) == OTHER_GENERATIONS
    workers.start("streaming.speed", one, "--domain", name)
    send(one, 1_000, seed=3)
    send(other, 1_000, seed=4)
    are_exact(one, other, Sandbox(one.settings, version.domain))


def _zombie_puts_late(sandbox, store, send) -> dict[int, int]:
    """One reader reads a chunk and pauses, another goes on to the end, then the first one puts its chunk: the end."""
    send(sandbox, 400)
    zombie = reader(sandbox, store), states(sandbox, store)
    late = next_chunk(zombie[0])
    next_segment(sandbox)
    send(sandbox, 400, seed=2)
    catch_up(sandbox, store, reader(sandbox, store), states(sandbox, store))
    zombie[1].put(late)
    return Log(sandbox.settings, sandbox.domain).end()


def test_a_zombies_late_chunk_is_refused(short_segments, send, speed_store, expected):
    store = speed_store(short_segments)
    assert _zombie_puts_late(short_segments, store, send) == heads(store)
    assert_equal(store, expected(short_segments))


def test_negative_control_without_the_comparison_a_zombies_late_chunk_moves_the_view_back(
    short_segments, send, speed_store
):
    store = speed_store(short_segments, compare_and_set=False)
    end = _zombie_puts_late(short_segments, store, send)
    assert sum(heads(store).values()) < sum(end.values())


def _uncut(batch: Batch, resumes, segment_ms, topic_id, group):
    """The guard off: a chunk is put whole into the segment it begins in."""
    first = min(batch.rows["append_time"].cast("int64").to_pylist()) // 1000
    return split(batch, resumes, 10**9 + first, topic_id, group)


@pytest.mark.parametrize("cut, exact", [(split, True), (_uncut, False)], ids=["guarded", "negative_control"])
def test_a_chunk_that_crosses_a_boundary_is_cut_there(short_segments, send, speed_store, expected, cut, exact):
    sandbox, store = short_segments, speed_store(short_segments)
    send(sandbox, 300)
    next_segment(sandbox)
    send(sandbox, 300, seed=2)
    catch_up(sandbox, store, reader(sandbox, store, split=cut), states(sandbox, store))
    ranges, found = stored(store)
    right = expected(sandbox)
    assert ((ranges, found) == (right.ranges, right.states)) is exact


@pytest.fixture
def own_store(make_sandbox, tools, until):
    """A sandbox, and a context in which its store, of this test alone, is there; each time an empty one."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    @contextmanager
    def run() -> Iterator[None]:
        process = subprocess.Popen(
            [str(tools.store_server), "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL
        )
        try:
            until(lambda: _answers(redis.Redis(port=port)))
            yield
        finally:
            process.kill()
            process.wait()

    return make_sandbox(segment_seconds=1, store_url=SecretStr(f"redis://127.0.0.1:{port}/0")), run


def test_after_the_store_was_lost_the_reader_replays_from_the_frontier(own_store, send, speed_store, expected):
    sandbox, run_store = own_store
    store = speed_store(sandbox)
    send(sandbox, 3_000)
    running = reader(sandbox, store), states(sandbox, store)
    with run_store():
        catch_up(sandbox, store, *running)
    send(sandbox, 3_000, seed=2)
    chunk = next_chunk(running[0])
    with run_store():
        assert running[1].put(chunk) == set(chunk.runs)
        running[0].close()
        catch_up(sandbox, store, *running)
        assert_equal(store, expected(sandbox))


def test_while_the_store_is_away_a_chunk_waits(own_store, send, speed_store, expected, until, workers):
    sandbox, run_store = own_store
    workers.start("streaming.speed", sandbox)
    until(lambda: "the store does not answer" in workers.logs())
    send(sandbox, 3_000)
    with run_store():
        end, store = Log(sandbox.settings, sandbox.domain).end(), speed_store(sandbox)
        until(lambda: heads(store) == end)
        assert_equal(store, expected(sandbox))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_without_the_prism_binary_the_message_says_how_to_build_it():
    said = r"TIDEMARK_PRISM_BINARY=/nowhere/prism: .*`make setup` builds it"
    with pytest.raises(BadSettings, match=said), prism(Path("/nowhere/prism")):
        pass
