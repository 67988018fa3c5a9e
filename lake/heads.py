"""How far the merged answers of a domain's live version reach, found without reading a state.

Invariant: a head is one that serving would show: tiles and segments were seen to meet up to a moment ago, and since
then a frontier has only moved forward, and a head only by segments that chain.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lake.cuts import Cut, upper
from lake.domain import Domain
from lake.kernel import Kernel
from lake.marts import built_tiles
from lake.pins import meet
from lake.registry import Registry
from lake.settings import Settings
from lake.store import SpeedStore

CHECK_SECONDS = 15.0


@dataclass(frozen=True)
class _Version:
    """What the heads of one version of a domain are looked up by."""

    domain: Domain
    hashes: dict[str, str]
    store: SpeedStore


class Heads:
    """Of one domain, for whoever asks often: the store's heads at each look, lake and segments every 15 seconds.

    `declared` is looked at while the registry knows no version. Not to be shared between threads.
    """

    def __init__(self, settings: Settings, declared: Domain) -> None:
        self._settings, self._declared = settings, declared
        self._registry = Registry(settings)
        self._version: _Version | None = None
        self._cuts: dict[str, Cut] = {}
        self._checked: float | None = None

    def now(self) -> dict[str, Cut]:
        """The head of each stored view. Raises MissingCoverage, and what lake and store raise while they are away."""
        if self._version is None or self._checked is None or time.monotonic() - self._checked > CHECK_SECONDS:
            self._checked = None
            self._version = version = self._live()
            self._cuts = self._read_cuts(version)
            self._checked = time.monotonic()
        heads = {p: head.next_offset for p, head in self._version.store.heads().items()}
        return {view: upper([cut, heads]) for view, cut in self._cuts.items()}

    def _live(self) -> _Version:
        live = self._registry.live(self._declared.name)
        domain = live.domain if live else self._declared
        if self._version and self._version.domain == domain:
            return self._version
        kernel = Kernel(domain)
        generation = kernel.generation(self._settings.segment_seconds)
        store = SpeedStore(self._settings.store_url, generation, domain.name)
        return _Version(domain, {view: kernel.definition_hash(view) for view in domain.stored_views}, store)

    def _read_cuts(self, version: _Version) -> dict[str, Cut]:
        """cut(frontier) of each stored view, from which on the segments were seen to chain. Marts first, as in a pin:
        the store only ever forgets what the marts already cover.
        """
        name = version.domain.name
        runs = {view: built_tiles(self._settings, name, view, hash_) for view, hash_ in version.hashes.items()}
        cuts = {view: run[-1].cut_end if run else {} for view, run in runs.items()}
        ranges = version.store.ranges()
        for cut in cuts.values():
            meet(cut, ranges)
        return cuts
