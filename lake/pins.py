"""What an answer is made from: versions of the marts and one moment of the speed store, and how they meet.

Invariant: tiles and segments either meet, offset for offset, in every partition, or MissingCoverage says where not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import pyarrow as pa
import redis

from lake.cuts import Cut, from_ms
from lake.errors import MissingCoverage
from lake.kernel import decode
from lake.marts import Mart, MartSnapshot
from lake.store import SpeedStore, StoredSegment, StoreSnapshot

Segments = Mapping[tuple[int, int], StoredSegment]
"""By (partition, start in ms), in order."""


@dataclass(frozen=True)
class Parts:
    """What one stored view is merged from: the tiles up to the cut, and the segments that hold exactly [cut, head)."""

    view: str
    mart: MartSnapshot
    segments: Segments
    head: Cut
    fresh_to: datetime | None
    """append_time of the newest event in the segments; None if there is none."""

    @property
    def as_of(self) -> datetime:
        """See `as_of`."""
        return as_of(self.mart.frontier, self.fresh_to)

    @cached_property
    def final(self) -> Segments:
        """All segments but the newest of each partition: they do not change any more."""
        newest = dict(sorted(self.segments))
        return {key: segment for key, segment in self.segments.items() if key[1] != newest[key[0]]}

    @property
    def moving(self) -> Segments:
        """The newest of each partition."""
        return {key: segment for key, segment in self.segments.items() if key not in self.final}

    def added(self, known: Segments) -> Collection[tuple[int, int]] | None:
        """The final segments beside those that are known; None if these are others: the cut has moved on, or the store
        was replayed.
        """
        return self.final.keys() - known.keys() if known.items() <= self.final.items() else None

    def states(self, keys: Iterable[tuple[int, int]]) -> list[pa.Table]:
        """Those that these segments hold of the view, a table each. Raises MissingCoverage if one cannot be read."""
        return [self._decoded(key) for key in keys if self.view in self.segments[key].states]

    def _decoded(self, key: tuple[int, int]) -> pa.Table:
        segment = self.segments[key]
        try:
            return decode(segment.states[self.view])
        except (OSError, pa.ArrowInvalid) as error:
            raise MissingCoverage(
                f"partition {key[0]}: the speed store's states of {self.view} for [{segment.first}, {segment.next}) "
                f"cannot be read ({error}); empty the store, and the speed layer replays from the frontier"
            ) from error


@dataclass(frozen=True)
class Pin:
    """Mart versions and one moment of the speed store, taken in this order, from which every view is answered."""

    marts: Mapping[str, MartSnapshot]
    store: StoreSnapshot

    def parts(self, stored: str) -> Parts:
        """Of a view with states. Raises MissingCoverage where mart and speed view do not meet."""
        mart = self.marts[stored]
        segments, head = meet(mart.cut, self.store)
        newest = max((self.store.heads[p].max_append_ms for p, _ in segments), default=None)
        return Parts(stored, mart, segments, head, None if newest is None else from_ms(newest))


class Pins:
    """Takes pins. Safe to share between threads."""

    def __init__(self, marts: Mapping[str, Mart], store: SpeedStore) -> None:
        self._marts, self._store = marts, store
        self._looked: tuple[float, dict[str, MartSnapshot]] = (0.0, {})
        self._seen: StoreSnapshot | None = None
        self._lock = threading.Lock()

    def take(self, max_age_seconds: float = 0.0) -> Pin:
        """The marts, looked up anew if their last look is older than that, and the store as it is now.

        Marts first: the speed store only ever forgets what the marts already cover.
        """
        with self._lock:
            looked_at, marts = self._looked
            now = time.monotonic()
            if now - looked_at > max_age_seconds or not marts:
                marts = {name: mart.snapshot() for name, mart in self._marts.items()}
                self._looked = now, marts
            self._seen = self._store.snapshot(self._seen)
            return Pin(marts, self._seen)


def as_of(frontier: datetime, fresh_to: datetime | None) -> datetime:
    """What a view's retention counts back from."""
    return max(frontier, fresh_to or frontier)


def store_away(error: redis.RedisError) -> str:
    """A sentence for a speed store that does not answer; the client's own words name the address."""
    return f"the speed store does not answer ({error}); is it up (`tidemark status`)?"


def meet(cut: Cut, store: StoreSnapshot) -> tuple[dict[tuple[int, int], StoredSegment], Cut]:
    """The segments that hold exactly the offsets [cut, head), and the head.

    A partition whose speed view has not reached the cut has its head there. Raises MissingCoverage with the partition
    and the offsets that neither side holds.
    """
    chosen: dict[tuple[int, int], StoredSegment] = {}
    head = dict(cut)
    for partition, stored in store.heads.items():
        at = cut.get(partition, 0)
        if stored.next_offset <= at:
            continue
        for key, segment in store.segments.items():
            if key[0] != partition or segment.next <= at:
                continue
            if segment.first != at:
                raise MissingCoverage(
                    f"partition {partition}: the mart ends at offset {cut.get(partition, 0)}, the speed view lacks "
                    f"[{at}, {segment.first}); it will replay from the frontier once restarted on an empty store"
                )
            chosen[key] = segment
            at = segment.next
        if at != stored.next_offset:
            raise MissingCoverage(
                f"partition {partition}: the speed view lacks [{at}, {stored.next_offset}) before its own head"
            )
        head[partition] = at
    return chosen, head
