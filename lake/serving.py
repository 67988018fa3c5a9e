"""The merged answer: tiles up to the frontier, plus the speed view's segments from cut(frontier) on.

Invariant: an answer is exact as of its head. Mart and speed view either meet, offset for offset, in every partition,
or MissingCoverage says where they do not; and one Serving never answers with a head behind one it has shown, nor does
the one that it has handed over to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import redis
from deltalake.exceptions import DeltaError

from lake import metrics, state_files
from lake.cuts import Cut, covers
from lake.domain import Domain
from lake.errors import MissingCoverage, lake_away
from lake.kernel import QUARANTINE, Kernel
from lake.local_mart import LocalMart
from lake.marts import Mart
from lake.pins import Parts, Pin, Pins, Segments, as_of, store_away
from lake.settings import Settings
from lake.store import SpeedStore

T = TypeVar("T")

COPIES = "copies"
"""The folder of the copies, in the home."""
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

    @property
    def as_of(self) -> datetime:
        """See `pins.as_of`."""
        return as_of(self.frontier, self.fresh_to)


class Serving:
    """The merged views of one version of a domain. Safe to share between threads.

    `copies`: whether marts are read from copies on this disk, which are made first, or from the lake itself.
    """

    def __init__(self, settings: Settings, domain: Domain, *, copies: bool = False) -> None:
        self.domain = domain
        self._endpoint = settings.s3_endpoint
        self.kernel = Kernel(domain)
        marts = {
            name: Mart(settings, domain.name, name, self.kernel.schema(name), self.kernel.definition_hash(name))
            for name in [*domain.stored_views, QUARANTINE]
        }
        generation = self.kernel.generation(settings.segment_seconds)
        self._pins = Pins(marts, SpeedStore(settings.store_url, generation, domain.name))
        self._copies = {
            name: LocalMart(settings.home / COPIES / domain.name / name, self.kernel, name)
            for name in (domain.stored_views if copies else ())
        }
        self._shown: dict[str, Cut] = {}
        self._last: dict[str, Answer] = {}
        self._batch: dict[str, tuple[int, pa.Table]] = {}
        self._final: dict[str, tuple[Segments, pa.Table]] = {}
        self._handed_over = False
        self._lock = threading.Lock()

    def pin(self, max_age_seconds: float = 0.0) -> Pin:
        """See Pins.take."""
        return self._pins.take(max_age_seconds)

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

    def newest(self, use: Callable[[Pin], T]) -> T:
        """What `use` makes of a new pin. Raises MissingCoverage, also where lake or store are away."""
        try:
            try:
                return use(self.pin(MARTS_SECONDS))
            except MissingCoverage:
                # A build and a trim may have come since the marts were looked up; a second look sees the new tile.
                return use(self.pin())
        except redis.RedisError as error:
            raise MissingCoverage(store_away(error)) from error
        except (OSError, DeltaError) as error:
            raise MissingCoverage(lake_away(self._endpoint, error)) from error

    def _new_or_held(self, view: str) -> Answer:
        try:
            answer = self.newest(lambda pin: self.merge(view, pin))
            with self._lock:  # between look and keep, another thread may not show a later head
                self._admit({self.kernel.stored(view): answer.head})
                self._last[view] = answer
                return answer
        except MissingCoverage as error:
            if view not in self._last:
                raise
            return replace(self._last[view], held=str(error))

    def show(self, heads: Mapping[str, Cut]) -> None:
        """Whoever shows stored views by other means than `answer` says here up to which heads.

        Raises MissingCoverage if one is behind what was shown, or another version answers by now: show nothing then.
        """
        with self._lock:
            self._admit(heads)

    def heads(self) -> dict[str, Cut]:
        """How far each stored view could be answered now. Raises as `merge`."""
        pin = self.pin()
        return {view: pin.parts(view).head for view in self.domain.stored_views}

    def hand_over(self, successor: Serving) -> bool:
        """Let the serving of another version answer from now on, if it is nowhere behind what was shown here.

        True: this one shows nothing newer any more. False: it goes on; ask again. Raises as `merge`.
        """
        pin = successor.pin()
        heads = {view: pin.parts(view).head for view in list(self._shown) if view in successor.domain.stored_views}
        answers = {view: successor.merge(view, pin) for view in list(self._last) if view in successor.domain.views}
        with self._lock:
            if any(not covers(head, self._shown[view]) for view, head in heads.items()):
                return False
            self._handed_over = True
        successor._shown.update(heads)  # nobody else has it yet
        successor._last.update(answers)
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
            return self.kernel.shown(answer.view, values, answer.as_of)

    def merge(self, view: str, pin: Pin) -> Answer:
        """One view, answered from what is pinned. Raises MissingCoverage where mart and speed view do not meet."""
        stored = self.kernel.stored(view)
        parts = pin.parts(stored)
        with self._lock:
            batch, speed = self._batch_states(parts), self._speed_states(parts)
            merged = self.kernel.merge(stored, [batch, speed])
        return Answer(
            view=view,
            frontier=parts.mart.frontier,
            cut=parts.mart.cut,
            head=parts.head,
            fresh_to=parts.fresh_to,
            merged=merged,
            batch=batch,
            speed=speed,
            definition_hash=self.kernel.definition_hash(stored),
        )

    def copies(self, parts: Parts) -> list[Path]:
        """The mart's part in files on this disk; see LocalMart.files."""
        return self._copies[parts.view].files(parts.mart)

    def _admit(self, heads: Mapping[str, Cut]) -> None:
        if self._handed_over:
            raise MissingCoverage("another version of the domain answers now")
        for view, head in heads.items():
            if not covers(head, self._shown.get(view, {})):
                raise MissingCoverage(f"the speed view is replaying: it has come to {head}")
        self._shown.update(heads)

    def _batch_states(self, parts: Parts) -> pa.Table:
        view, mart = parts.view, parts.mart
        version, states = self._batch.get(view, (None, None))
        if version != mart.version:
            tables = [state_files.read(file) for file in self.copies(parts)] if self._copies else mart.states
            states = self.kernel.merge(view, tables)
            self._batch[view] = (mart.version, states)
        return states

    def _speed_states(self, parts: Parts) -> pa.Table:
        """The segments' states, merged; those that are final once."""
        view = parts.view
        known, states = self._final.get(view, ({}, self.kernel.schema(view).empty_table()))
        added = parts.added(known)
        if added is None:
            added, states = parts.final, self.kernel.schema(view).empty_table()
        if added:
            states = self.kernel.merge(view, [states, *parts.states(added)])
        self._final[view] = parts.final, states
        return self.kernel.merge(view, [states, *parts.states(parts.moving)])
