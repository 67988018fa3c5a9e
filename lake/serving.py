"""The merged answer: tiles up to the frontier, plus the speed view's segments from cut(frontier) on.

Invariant: an answer is exact as of its head. Mart and speed view either meet, offset for offset, in every partition,
or MissingCoverage says where they do not; and one Serving never answers with a head behind one it has shown, nor does
the one that it has handed over to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
import redis
from deltalake.exceptions import DeltaError

from lake import metrics
from lake.cuts import Cut, covers, from_ms
from lake.domain import Domain
from lake.errors import MissingCoverage, lake_away
from lake.kernel import QUARANTINE, Kernel, decode
from lake.marts import Mart, MartSnapshot
from lake.settings import Settings
from lake.store import SpeedStore, StoredSegment, StoreSnapshot

MARTS_SECONDS = 1.0
"""How old the marts of an answer may be: asking the lake for each costs more than the answer, and they move hourly."""


@dataclass(frozen=True)
class Answer:
    """One view at one moment, as states. `batch` holds the events before `cut`, `speed` those in [cut, head).

    A view over another has that one's states; what it makes of them, it makes of their values.
    """

    view: str
    frontier: datetime
    cut: Cut
    head: Cut
    fresh_to: datetime | None
    """append_time of the newest event in the speed view; None if it holds none."""
    merged: pa.Table = field(repr=False)
    batch: pa.Table = field(repr=False)
    speed: pa.Table = field(repr=False)
    held: str | None = None
    """Why this is the last answer instead of a new one; None if it is new."""
    definition_hash: str = ""
    """Of the view whose states these are."""


@dataclass(frozen=True)
class Pin:
    """Mart versions and one moment of the speed store, taken in this order, from which every view is answered."""

    marts: dict[str, MartSnapshot]
    store: StoreSnapshot


class Serving:
    """The merged views of one version of a domain. Safe to share between threads."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self.domain = domain
        self._endpoint = settings.s3_endpoint
        self.kernel = Kernel(domain)
        self._marts = {
            name: Mart(settings, domain.name, name, self.kernel.schema(name), self.kernel.definition_hash(name))
            for name in [*domain.stored_views, QUARANTINE]
        }
        generation = self.kernel.generation(settings.segment_seconds)
        self._store = SpeedStore(settings.store_url, generation, domain.name)
        self._looked: tuple[float, dict[str, MartSnapshot]] = (0.0, {})
        self._seen: StoreSnapshot | None = None
        self._last: dict[str, Answer] = {}
        self._batch: dict[str, tuple[int, pa.Table]] = {}
        self._final: dict[str, tuple[dict[tuple[int, int], StoredSegment], pa.Table]] = {}
        self._handed_over = False
        self._lock = threading.Lock()

    def pin(self, max_age_seconds: float = 0.0) -> Pin:
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

    def answer(self, view: str) -> Answer:
        """The newest merged answer of one view.

        While lake or store are away, or the store is behind what was already shown, the last answer is given again,
        with the reason.
        Raises MissingCoverage if there is none yet.
        """
        name = self.domain.name
        with metrics.ANSWERS.labels(name, "missing").count_exceptions(), metrics.ANSWER_SECONDS.labels(name).time():
            answer = self._new_or_held(view)
        metrics.ANSWERS.labels(name, "held" if answer.held else "new").inc()
        metrics.FRONTIER_TIME.labels(name, view).set(answer.frontier.timestamp())
        if answer.fresh_to:
            metrics.FRESH_TIME.labels(name, view).set(answer.fresh_to.timestamp())
        return answer

    def _new_or_held(self, view: str) -> Answer:
        try:
            answer = self._answer_now(view)
        except MissingCoverage as error:
            return self._hold(view, error)
        except redis.RedisError as error:
            return self._hold(view, MissingCoverage(store_away(error)))
        except (OSError, DeltaError) as error:
            return self._hold(view, MissingCoverage(lake_away(self._endpoint, error)))
        with self._lock:  # between look and keep, another thread may not show a later head
            last = self._last.get(view)
            if last is None or (covers(answer.head, last.head) and not self._handed_over):
                self._last[view] = answer
                return answer
        if self._handed_over:
            return self._hold(view, MissingCoverage("another version of the domain answers now"))
        return self._hold(view, MissingCoverage(f"the speed view is replaying: it has come to {answer.head}"))

    def heads(self) -> dict[str, Cut]:
        """How far each stored view could be answered now. Raises as `merge`."""
        pin = self.pin()
        return {view: meet(pin.marts[view].cut, pin.store)[1] for view in self.domain.stored_views}

    def hand_over(self, successor: Serving) -> bool:
        """Let the serving of another version answer from now on, if it is nowhere behind what was shown here.

        True: this one shows nothing newer any more. False: it goes on; ask again. Raises as `merge`.
        """
        pin = successor.pin()
        answers = {view: successor.merge(view, pin) for view in list(self._last) if view in successor.domain.views}
        with self._lock:
            if any(view in self._last and not covers(a.head, self._last[view].head) for view, a in answers.items()):
                return False
            self._handed_over = True
        successor._last.update(answers)  # nobody else has it yet
        return True

    def quarantine(self, pin: Pin) -> pa.Table:
        """The bad records before the quarantine's frontier, with their reasons."""
        with self._lock:
            return self.kernel.merge(QUARANTINE, pin.marts[QUARANTINE].states)

    def present(self, view: str, states: pa.Table) -> pa.Table:
        """States of an answer -> the values of every row."""
        with self._lock:
            return self.kernel.present(view, states)

    def values(self, answer: Answer) -> pa.Table:
        """The merged values of an answer, as the view shows them: those it has, in its order, up to its limit."""
        with self._lock:
            values = self.kernel.present(answer.view, answer.merged)
            return self.kernel.shown(answer.view, values, max(answer.frontier, answer.fresh_to or answer.frontier))

    def merge(self, view: str, pin: Pin) -> Answer:
        """One view, answered from what is pinned. Raises MissingCoverage where mart and speed view do not meet."""
        stored = self.kernel.stored(view)
        mart = pin.marts[stored]
        segments, head = meet(mart.cut, pin.store)
        with self._lock:
            batch = self._batch_states(stored, mart)
            speed = self._speed_states(stored, segments)
            merged = self.kernel.merge(stored, [batch, speed])
        newest = max((pin.store.heads[p].max_append_ms for p, _ in segments), default=None)
        return Answer(
            view=view,
            frontier=mart.frontier,
            cut=mart.cut,
            head=head,
            fresh_to=None if newest is None else from_ms(newest),
            merged=merged,
            batch=batch,
            speed=speed,
            definition_hash=self.kernel.definition_hash(stored),
        )

    def _answer_now(self, view: str) -> Answer:
        try:
            return self.merge(view, self.pin(MARTS_SECONDS))
        except MissingCoverage:
            # A build and a trim may have come since the marts were looked up; a second look sees the new tile.
            return self.merge(view, self.pin())

    def _hold(self, view: str, reason: Exception) -> Answer:
        if view not in self._last:
            raise reason
        return replace(self._last[view], held=str(reason))

    def _batch_states(self, view: str, mart: MartSnapshot) -> pa.Table:
        version, states = self._batch.get(view, (None, None))
        if version != mart.version:
            states = self.kernel.merge(view, mart.states)
            self._batch[view] = (mart.version, states)
        return states

    def _speed_states(self, view: str, segments: dict[tuple[int, int], StoredSegment]) -> pa.Table:
        """The segments' states, merged. All but the newest of a partition are final, so they are merged once."""
        newest = dict(sorted(segments))
        final = {key: stored for key, stored in segments.items() if key[1] != newest[key[0]]}
        known, states = self._final.get(view, ({}, self.kernel.schema(view).empty_table()))
        if not known.items() <= final.items():  # the cut has moved on, or the store was replayed
            known, states = {}, self.kernel.schema(view).empty_table()
        if added := [key for key in final if key not in known]:
            states = self.kernel.merge(view, [states, *self._decoded(view, final, added)])
        self._final[view] = final, states
        moving = [key for key in segments if key not in final]
        return self.kernel.merge(view, [states, *self._decoded(view, segments, moving)])

    @staticmethod
    def _decoded(
        view: str, segments: dict[tuple[int, int], StoredSegment], keys: Iterable[tuple[int, int]]
    ) -> list[pa.Table]:
        return [_read(key, segments[key], view) for key in keys if view in segments[key].states]


def _read(key: tuple[int, int], segment: StoredSegment, view: str) -> pa.Table:
    try:
        return decode(segment.states[view])
    except (OSError, pa.ArrowInvalid) as error:
        raise MissingCoverage(
            f"partition {key[0]}: the speed store's states of {view} for [{segment.first}, {segment.next}) cannot be "
            f"read ({error}); empty the store, and the speed layer replays from the frontier"
        ) from error


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
