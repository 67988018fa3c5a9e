"""Lets go of speed states that the marts have covered for a whole slice.

Invariant: only offsets before the start of every view's newest tile are forgotten. So whoever still answers from the
mart as it was one slice ago finds every segment from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lake.cuts import lower
from lake.domain import Domain
from lake.kernel import Kernel
from lake.marts import Manifest
from lake.settings import Settings
from lake.store import SpeedStore


def trim_store(settings: Settings, domain: Domain, kernel: Kernel, tiles: Iterable[Sequence[Manifest]]) -> int:
    """Forget what lies below; how many segments that were. `tiles`: of each declared view, its unbroken run.

    Raises redis.RedisError if the store is away; the next build trims as well.
    """
    below = lower(run[-1].cut_start if run else {} for run in tiles)
    store = SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)
    return store.trim({partition: offset for partition, offset in below.items() if offset})
