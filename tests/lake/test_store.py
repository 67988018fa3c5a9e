"""The speed store moves a head and its segments together, by one writer at a time; against the real server."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from lake.errors import MissingCoverage
from lake.pins import meet
from lake.store import Piece, Resume, SpeedStore

TOPIC = "topic-1"
BINARY = bytes(range(256)) * 3


@pytest.fixture
def generation() -> str:
    return secrets.token_hex(6)


@pytest.fixture
def store(settings, generation) -> SpeedStore:
    return SpeedStore(settings.store_url, generation, "shop")


def piece(segment: int, first: int, next_: int, **states: bytes) -> Piece:
    return Piece(segment, first, next_, max_append_ms=segment + 5, states=states or {"revenue": b"%d" % next_})


def test_a_partition_opens_at_the_given_start_once(store):
    assert store.resume(3) is None
    opened = store.open(3, 40, TOPIC)
    assert opened == Resume(40, TOPIC, epoch=-1, segment=None, max_append_ms=0, first=40)
    assert store.open(3, 99, "another") == opened == store.resume(3)


def test_an_accepted_chunk_moves_head_and_segments_together(store):
    store.open(0, 10, TOPIC)
    assert store.put(0, 10, [piece(1000, 10, 15), piece(2000, 15, 20)], TOPIC, epoch=7)
    assert store.put(0, 20, [piece(2000, 15, 25), piece(4000, 25, 26)], TOPIC, epoch=8)
    assert store.resume(0) == Resume(26, TOPIC, epoch=8, segment=4000, max_append_ms=4005, first=25)
    snapshot = store.snapshot()
    assert snapshot.heads == {0: store.resume(0)}
    assert {key: (s.first, s.next) for key, s in snapshot.segments.items()} == {
        (0, 1000): (10, 15),
        (0, 2000): (15, 25),
        (0, 4000): (25, 26),
    }


@pytest.mark.parametrize("start, topic", [(9, TOPIC), (11, TOPIC), (10, "another")])
def test_a_chunk_from_elsewhere_or_of_another_topic_is_refused_and_changes_nothing(store, start, topic):
    store.open(0, 10, TOPIC)
    before = store.snapshot()
    assert not store.put(0, start, [piece(1000, start, 20)], topic, epoch=0)
    assert store.snapshot() == before


def test_after_the_store_was_lost_a_put_is_refused(store):
    assert not store.put(0, 10, [piece(1000, 10, 20)], TOPIC, epoch=0)
    assert store.snapshot().heads == {}


def _accepted_of_eight_writers(url, generation: str, compare_and_set: bool) -> int:
    writers = [SpeedStore(url, generation, "shop", compare_and_set=compare_and_set) for _ in range(8)]
    writers[0].open(0, 10, TOPIC)
    at_once = Barrier(len(writers))

    def write(number: int) -> bool:
        at_once.wait()
        return writers[number].put(0, 10, [piece(1000, 10, 11 + number)], TOPIC, epoch=0)

    with ThreadPoolExecutor(len(writers)) as pool:
        return sum(pool.map(write, range(len(writers))))


def test_a_segment_that_was_lost_alone_is_a_hole_that_serving_tells(store):
    store.open(0, 10, TOPIC)
    assert store.put(0, 10, [piece(1000, 10, 15), piece(2000, 15, 20)], TOPIC, epoch=7)
    [lost] = store._redis.scan_iter(f"{store._prefix}:0:segment:1000")
    store._redis.delete(lost)
    with pytest.raises(MissingCoverage, match=r"lacks \[10, 15\)"):
        meet({0: 10}, store.snapshot())
    assert store.trim({0: 20}) == 0


def test_of_eight_writers_at_one_start_exactly_one_is_accepted(settings, generation):
    assert _accepted_of_eight_writers(settings.store_url, generation, compare_and_set=True) == 1


def test_negative_control_without_the_comparison_all_of_them_are_accepted(settings, generation):
    assert _accepted_of_eight_writers(settings.store_url, generation, compare_and_set=False) == 8


def test_a_snapshot_carries_only_the_states_that_its_holder_lacks(store):
    store.open(0, 0, TOPIC)
    store.put(0, 0, [piece(1000, 0, 5, revenue=BINARY), piece(2000, 5, 6)], TOPIC, epoch=0)
    first = store.snapshot()
    assert first.segments[0, 1000].states == {"revenue": BINARY}
    store.put(0, 6, [piece(2000, 5, 9)], TOPIC, epoch=0)
    second = store.snapshot(first)
    assert second == store.snapshot()
    assert second.segments[0, 1000].states is first.segments[0, 1000].states
    assert second.segments[0, 2000].states == {"revenue": b"9"}


def test_states_are_bytes_of_any_value_and_a_put_replaces_all_of_a_segments_states(store):
    store.open(0, 0, TOPIC)
    store.put(0, 0, [piece(1000, 0, 1, revenue=BINARY, visitors=b"")], TOPIC, epoch=0)
    assert store.states(0, 1000) == {"revenue": BINARY, "visitors": b""}
    store.put(0, 1, [piece(1000, 0, 2, visitors=b"\r\n\0")], TOPIC, epoch=0)
    assert store.states(0, 1000) == {"visitors": b"\r\n\0"}
    assert store.states(0, 9000) == {}


def test_trim_removes_whole_segments_below_a_cut_but_never_the_one_the_head_stands_in(store):
    store.open(0, 0, TOPIC)
    store.put(0, 0, [piece(1000, 0, 5), piece(2000, 5, 10), piece(3000, 10, 12)], TOPIC, epoch=0)
    assert store.trim({0: 9, 1: 50}) == 1
    assert list(store.snapshot().segments) == [(0, 2000), (0, 3000)]
    assert store.trim({0: 50}) == 1
    assert list(store.snapshot().segments) == [(0, 3000)]
    assert store.put(0, 12, [piece(3000, 10, 13)], TOPIC, epoch=0)


def test_generations_and_domains_do_not_see_each_other(settings, store, generation):
    store.open(0, 0, TOPIC)
    for other in (("other", "shop"), (generation, "bank")):
        assert SpeedStore(settings.store_url, *other).snapshot().heads == {}


@pytest.mark.parametrize(
    "pieces", [[], [piece(1000, 11, 20)], [piece(1000, 5, 10)], [piece(1000, 10, 15), piece(2000, 16, 20)]]
)
def test_pieces_that_do_not_chain_from_the_start_are_an_error(store, pieces):
    store.open(0, 10, TOPIC)
    with pytest.raises(ValueError, match=r"piece"):
        store.put(0, 10, pieces, TOPIC, epoch=0)
