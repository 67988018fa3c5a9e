"""The restriction of Beam's splittable reader: a vector of positions without an end.

Invariant: it is a hint, not the truth (the store is), so it only has to be consistent with itself: it is split at
what was claimed, nowhere else, and what follows is the residual's.
"""

from __future__ import annotations

from typing import Any

from apache_beam.coders import coders
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.transforms.core import RestrictionProvider

Positions = tuple[tuple[int, int], ...]
"""(partition, next offset), ascending; empty before a group was opened."""


class PositionsTracker(RestrictionTracker):
    """Over (start, stop) where stop is None until a checkpoint was taken."""

    def __init__(self, restriction: tuple[Positions, Positions | None]) -> None:
        self._start, self._stop = restriction
        self._claimed = self._start

    def current_restriction(self) -> tuple[Positions, Positions | None]:
        return self._start, self._stop

    def try_claim(self, positions: Positions) -> bool:
        """Whether the chunk that ends at `positions` is still ours to emit."""
        if self._stop is not None:
            return False
        self._claimed = positions
        return True

    def try_split(self, fraction_of_remainder: float) -> Any:
        if fraction_of_remainder != 0 or self._stop is not None:
            return None
        self._stop = self._claimed
        return (self._start, self._stop), (self._claimed, None)

    def check_done(self) -> None:
        if self._stop is None:
            raise ValueError("an unbounded restriction ended without a checkpoint")

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(fraction=0.0)

    def is_bounded(self) -> bool:
        return False


class PositionsProvider(RestrictionProvider):
    """Any element starts without positions: its reader asks the store."""

    def initial_restriction(self, element: Any) -> tuple[Positions, None]:
        return (), None

    def create_tracker(self, restriction: tuple[Positions, Positions | None]) -> PositionsTracker:
        return PositionsTracker(restriction)

    def restriction_size(self, element: Any, restriction: Any) -> int:
        return 1

    def restriction_coder(self) -> coders.Coder:
        return coders.PickleCoder()

    def split(self, element: Any, restriction: Any) -> Any:
        yield restriction

    def truncate(self, element: Any, restriction: Any) -> None:
        return None
