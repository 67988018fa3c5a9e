"""The serving of a domain's live version, which moves over when another version is promoted.

Invariant: whoever asks sees answers of one version and then of the next, never of an older one again, and no head that
is behind one that was shown: until the promoted version can answer that far, the one before goes on.
"""

from __future__ import annotations

import threading
import time

import redis
from deltalake.exceptions import DeltaError

from lake.domain import Domain
from lake.errors import MartDamaged, MissingCoverage
from lake.registry import Registry
from lake.serving import Answer, Serving
from lake.settings import Settings

_LOOK_SECONDS = 1.0
_AWAY = (MissingCoverage, MartDamaged, redis.RedisError, OSError, DeltaError)


class LiveServing:
    """One for as long as somebody asks. `declared` is served while the registry knows no version of it."""

    def __init__(self, settings: Settings, declared: Domain) -> None:
        self._settings, self._registry = settings, Registry(settings)
        self._declared = declared
        self._current: Serving | None = None
        self._next: Serving | None = None
        self._looked = 0.0
        self._lock = threading.Lock()

    def now(self) -> Serving:
        """The serving to ask. Whoever goes on to present what it answers keeps it, for its kernel knows how."""
        with self._lock:
            if self._current is None:
                live = self._registry.live(self._declared.name)
                self._current = Serving(self._settings, live.domain if live else self._declared, copies=True)
                self._looked = time.monotonic()
            elif time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look(self._current)
            if self._next and self._is_ready(self._current, self._next):
                self._current, self._next = self._next, None
            return self._current

    def answer(self, view: str) -> Answer:
        """The newest merged answer of one view; see Serving.answer."""
        return self.now().answer(view)

    def _look(self, current: Serving) -> None:
        """Prepare to serve what was promoted since."""
        try:
            live = self._registry.live(self._declared.name)
        except (OSError, DeltaError):
            return  # the lake is away: what is served says so
        self._looked = time.monotonic()
        if live is None or live.domain == current.domain:
            self._next = None
        elif self._next is None or self._next.domain != live.domain:
            self._next = Serving(self._settings, live.domain, copies=True)

    @staticmethod
    def _is_ready(current: Serving, following: Serving) -> bool:
        try:
            return current.hand_over(following)
        except _AWAY:
            return False
