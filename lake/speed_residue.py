"""What the speed store holds of events that the marts cover: segments from before the frontier, and other versions.

Invariant: only what is before the frontier of every view goes, or a whole generation that no version in use has; the
speed layer goes on from where it stands, or from the frontier.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from lake.erasure import NotErased
from lake.errors import TidemarkError
from lake.pins import store_away
from lake.settings import Settings
from lake.store import SpeedStore, stored_generations
from lake.stored_views import StoredVersion
from lake.waiting import wait_until


def forget_speed(settings: Settings, domain: str, versions: Sequence[StoredVersion]) -> None:
    """Remove them. Raises NotErased if the speed layer does not come past the frontier in time, or the store is away.

    Whoever still answers from a mart as it was before its newest tile finds segments missing, and looks again.
    """
    used = {version.generation: version for version in versions}
    try:
        for generation in sorted(stored_generations(settings.store_url, domain)):
            store = SpeedStore(settings.store_url, generation, domain)
            if generation in used:
                _trim(settings, store, used[generation])
            else:
                store.forget()
    except redis.RedisError as error:
        raise NotErased(f"{store_away(error)}; it may hold states of the subject: run this again") from error


def _trim(settings: Settings, store: SpeedStore, version: StoredVersion) -> None:
    covered = version.covered

    def trimmed() -> bool | None:
        """The segment that the head stands in stays until the speed layer has gone on to the next one."""
        store.trim(covered)
        segments = store.snapshot().segments
        return all(segment.first >= covered.get(partition, 0) for (partition, _), segment in segments.items()) or None

    def too_late() -> TidemarkError:
        return NotErased(
            f"after {settings.verify_timeout_seconds:.0f} s the speed store still holds events from before the "
            f"frontier {covered}; is the speed layer running (`tidemark status`)? Run this again when it is"
        )

    wait_until(trimmed, settings.verify_timeout_seconds, 0.5, too_late)
