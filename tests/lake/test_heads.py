"""Heads, looked up without a state, are those that serving shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake import heads
from lake.errors import MissingCoverage
from lake.heads import Heads
from lake.kernel import Kernel, encode
from lake.serving import Serving
from lake.store import Piece, SpeedStore
from tests.jobs.landed import Landed
from tests.lake.served import Served

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def served(sandbox) -> Served:
    landed = Landed(sandbox.settings, sandbox.domain)
    landed.events(NOON.replace(hour=11), 3000, 300)
    landed.seal(NOON)
    landed.events(NOON.replace(minute=1), 30, 100)
    return Served(sandbox, landed, NOON)


def test_the_heads_are_those_of_the_answers_and_follow_the_store_without_the_lake(served) -> None:
    looked, serving = Heads(served.settings, served.domain), Serving(served.settings, served.domain)
    assert looked.now() == serving.heads() == dict.fromkeys(served.domain.stored_views, served.head)
    store = _store(served)
    states = {view: encode(Kernel(served.domain).schema(view).empty_table()) for view in served.domain.stored_views}
    segment = max(start for p, start in store.ranges().segments if p == 0) + 10_000
    piece = Piece(segment, served.head[0], served.head[0] + 7, segment, states)
    assert store.put(0, served.head[0], [piece], "topic-1", 0)
    looked._settings = served.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:1"})  # no second look there
    assert looked.now() == serving.heads()
    assert looked.now()["revenue_by_country_hour"][0] == served.head[0] + 7


def test_ranges_are_a_snapshot_without_states(served) -> None:
    store = _store(served)
    whole, ranges = store.snapshot(), store.ranges()
    assert ranges.heads == whole.heads == store.heads()
    assert {key: (s.first, s.next) for key, s in ranges.segments.items()} == {
        key: (s.first, s.next) for key, s in whole.segments.items()
    }
    assert any(s.states for s in whole.segments.values()) and not any(s.states for s in ranges.segments.values())


def test_what_neither_side_holds_is_no_head(served, monkeypatch) -> None:
    monkeypatch.setattr(heads, "CHECK_SECONDS", -1.0)
    looked, store = Heads(served.settings, served.domain), _store(served)
    looked.now()
    partition, start = max(store.ranges().segments)
    store._redis.delete(store._key(partition, "segment", start))
    with pytest.raises(MissingCoverage, match=f"partition {partition}"):
        looked.now()
    with pytest.raises(MissingCoverage, match=f"partition {partition}"):
        Serving(served.settings, served.domain).heads()


def _store(served: Served) -> SpeedStore:
    generation = served.kernel.generation(served.settings.segment_seconds)
    return SpeedStore(served.settings.store_url, generation, served.domain.name)
