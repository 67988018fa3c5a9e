"""A store that is full refuses a write as a whole, and is read and trimmed as before; against a real server."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from lake.errors import StoreFull
from lake.store import _PUT, Piece, Put, SpeedStore
from streaming.child import free_port
from tests.store_server import store_server, used_bytes

TOPIC = "topic-1"
MAX_BYTES = 8_000_000
STATE_BYTES = 100_000
ENOUGH = 200
"""Puts of a state that together are more than twice what the server may hold."""


@pytest.fixture
def server(tools):
    """Full means refused, as in every configuration that is shipped."""
    options = ("--maxmemory", str(MAX_BYTES), "--maxmemory-policy", "noeviction")
    with store_server(tools.store_server, free_port(), *options) as client:
        yield client


@pytest.fixture
def store(server) -> SpeedStore:
    port = server.connection_pool.connection_kwargs["port"]
    return SpeedStore(SecretStr(f"redis://127.0.0.1:{port}/0"), "generation", "shop")


def _piece(number: int, size: int = STATE_BYTES) -> Piece:
    """Offset `number`, a segment of its own."""
    return Piece(number * 1000, number, number + 1, number * 1000 + 5, {"revenue": bytes(size)})


def _fill(store: SpeedStore) -> int:
    """Put until the store refuses: the offset at which it did."""
    store.open(0, 0, TOPIC)
    for number in range(ENOUGH):
        try:
            assert store.put(0, number, [_piece(number)], TOPIC, epoch=0)
        except StoreFull:
            return number
    raise AssertionError(f"{ENOUGH} puts of {STATE_BYTES:,} bytes were accepted")


def _everything(server) -> dict[bytes, bytes]:
    return {key: server.dump(key) for key in server.scan_iter()}


def test_a_put_that_a_full_store_refuses_changes_nothing_and_its_memory_stays_bounded(server, store):
    head = _fill(store)
    before = _everything(server)
    last = head - 1
    longer = Piece(last * 1000, last, head + 1, last * 1000 + 6, {"visitors": bytes(STATE_BYTES)})
    for pieces in ([_piece(head)], [longer], [longer, Piece(head * 1000, head + 1, head + 2, 0, {})]):
        with pytest.raises(StoreFull, match=r"`store.maxMemory`.*build slices"):
            store.put(0, head, pieces, TOPIC, epoch=1)
    assert _everything(server) == before
    assert store.resume(0).next_offset == head
    assert used_bytes(server) < MAX_BYTES + 5 * STATE_BYTES


def test_negative_control_a_script_that_deletes_first_puts_past_all_that_the_store_may_hold(server, store):
    add = "  redis.call('ZADD', KEYS[2], segment, segment)\n"
    head, before, after = _PUT.partition(add)
    assert before == add
    after = after.replace("    at = at + 2\n  end\n", f"    at = at + 2\n  end\n{add}")
    assert after.count(add) == 1
    store._put = store._redis.register_script(head + after)
    with pytest.raises(AssertionError, match="were accepted"):
        _fill(store)
    assert used_bytes(server) > 2 * MAX_BYTES


def test_a_full_store_opens_no_partition_that_it_does_not_know(server, store):
    store.open(0, 0, TOPIC)
    before = _everything(server)
    server.config_set("maxmemory", 1)
    with pytest.raises(StoreFull):
        store.open(1, 0, TOPIC)
    assert _everything(server) == before


def test_a_full_store_is_read_and_trimmed_also_by_who_comes_anew_and_then_takes_the_refused_put(server, store):
    head = _fill(store)
    server.script_flush()
    assert len(store.snapshot().segments) == len(store.ranges().segments) == head
    assert {p: at.next_offset for p, at in store.heads().items()} == {0: head}
    assert store.trim({0: head // 2}) == head // 2
    assert store.put(0, head, [_piece(head)], TOPIC, epoch=0)
    assert store.resume(0).next_offset == head + 1


def test_a_full_store_lets_go_of_a_generation(server, store):
    _fill(store)
    assert store.forget() > 0
    assert _everything(server) == {}
    store.open(0, 0, TOPIC)


def test_of_a_chunk_each_partition_is_stored_or_not_as_there_is_room_for_it(server, store):
    count, size = 400, 2 * MAX_BYTES // 400
    for partition in range(count):
        store.open(partition, 0, TOPIC)
    outcomes = store.put_all([Put(p, 0, [_piece(0, size)], TOPIC, 0, {}) for p in range(count)])
    room = outcomes.count(True)
    assert outcomes == [True] * room + [None] * (count - room)
    assert 0 < room < count
    assert [head.next_offset for head in store.heads().values()] == [1] * room + [0] * (count - room)
