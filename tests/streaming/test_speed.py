"""The store's states equal one kernel call over the log, whatever is killed, doubled or lost on the way."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from lake.domain import read_domain
from lake.errors import StoreFenced
from lake.log import Log
from lake.registry import Registry, written
from streaming.log_reader import Batch
from streaming.pieces import split
from streaming.pipeline import PutStates
from streaming.speed import OTHER_GENERATIONS
from tests.conftest import Sandbox
from tests.streaming.kept import (
    assert_equal,
    catch_up,
    heads,
    next_chunk,
    next_segment,
    put_count,
    reader,
    states,
    stored,
)


@pytest.fixture
def short_segments(make_sandbox):
    """A sandbox with segments of a second, so that a test sees several."""
    return make_sandbox(segment_seconds=1)


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


def test_another_number_of_groups_is_a_restart_that_may_overlap_and_the_store_is_exact(
    short_segments, workers, until, speed_store, expected
):
    sandbox = short_segments
    store = speed_store(sandbox)
    producer = workers.start("streaming.produce", sandbox, "--like", "shop", "--rate", "500")
    running: list[subprocess.Popen] = []
    for groups in ("1", "3", "2"):
        before, refusals = put_count(store), workers.logs().count("stands elsewhere")
        running.append(workers.start("streaming.speed", sandbox, "--groups", groups))
        until(lambda before=before: put_count(store) > before)
        if len(running) > 1:
            until(lambda refusals=refusals: workers.logs().count("stands elsewhere") > refusals)
            old = running.pop(0)
            old.terminate()
            assert old.wait(30) == 0
    producer.terminate()
    assert producer.wait(60) == 0
    end = Log(sandbox.settings, sandbox.domain).end()
    until(lambda: heads(store) == end)
    assert_equal(store, expected(sandbox))


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


def test_where_a_runner_has_put_the_reader_elsewhere_a_refused_chunk_fails_the_bundle(sandbox, send, speed_store):
    store = speed_store(sandbox)
    send(sandbox, 400)
    ours, another = reader(sandbox, store), reader(sandbox, store)
    late = next_chunk(ours)
    assert states(sandbox, store).put(next_chunk(another)) == set()
    putter = PutStates(lambda: sandbox.settings, sandbox.domain, "a generation that nobody here reads")
    putter.setup()
    with pytest.raises(StoreFenced, match="another reader has moved on, and ours runs elsewhere"):
        list(putter.process(late))
