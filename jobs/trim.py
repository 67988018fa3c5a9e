"""Lets go of speed states that the marts have covered for a whole tile, and of generations that were replaced.

Invariant: only offsets before the start of every view's newest tile are forgotten. So whoever still answers from the
mart as it was one tile ago finds every segment from there on; who is further behind looks at the mart again. A
generation goes when it has not been live for twice the grace: the speed layer has stopped it by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from lake.cuts import lower
from lake.domain import Domain
from lake.kernel import Kernel
from lake.marts import Manifest
from lake.registry import Registry
from lake.settings import Settings
from lake.store import SpeedStore, stored_generations


def trim_store(settings: Settings, domain: Domain, kernel: Kernel, tiles: Iterable[Sequence[Manifest]]) -> int:
    """Forget what lies below; how many segments that were. `tiles`: of each declared view, its unbroken run.

    Raises redis.RedisError if the store is away; the next build trims as well.
    """
    below = lower(run[-1].cut_start if run else {} for run in tiles)
    store = SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)
    return store.trim({partition: offset for partition, offset in below.items() if offset})


def forget_generations(settings: Settings, name: str) -> list[str]:
    """Remove the speed states of versions that were replaced; which generations that were. Raises as `trim_store`.

    What the registry does not know, such as the states of another release of the kernel, is left alone.
    """
    stored = stored_generations(settings.store_url, name)
    if len(stored) < 2:
        return []
    history = Registry(settings).history(name)
    kept = history.running(datetime.now(UTC), 2 * settings.generation_grace_seconds)
    names = {v.number: Kernel(v.domain).generation(settings.segment_seconds) for v in history.versions}
    replaced = stored & set(names.values()) - {names[version.number] for version in kept}
    for generation in replaced:
        SpeedStore(settings.store_url, generation, name).forget()
    return sorted(replaced)
