"""The marts that versions of a domain have in use: those of the live one, and of one that may become so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lake.cuts import EPOCH, Cut, lower
from lake.domain import Domain
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Manifest, built_tiles, mart_uri
from lake.registry import Registry, live_domain
from lake.settings import Settings


@dataclass(frozen=True)
class StoredView:
    """A view of one version of a domain: where its mart is, and its unbroken tiles."""

    name: str
    uri: str
    tiles: Sequence[Manifest] = field(repr=False)

    @property
    def frontier(self) -> datetime:
        return self.tiles[-1].t1 if self.tiles else EPOCH

    @property
    def cut(self) -> Cut:
        return self.tiles[-1].cut_end if self.tiles else {}


@dataclass(frozen=True)
class StoredVersion:
    """A version of a domain with its marts, the quarantine among them. `running`: the speed layer keeps it, too."""

    domain: Domain
    generation: str
    running: bool
    views: Sequence[StoredView] = field(repr=False)

    @property
    def covered(self) -> Cut:
        """What every view's mart holds, so that the speed layer need not."""
        return lower(view.cut for view in self.views if view.name != QUARANTINE)


def stored_versions(settings: Settings, name: str) -> list[StoredVersion]:
    """The versions of a domain that are live, were so just now, or may become so; the live one is first."""
    history = Registry(settings).history(name)
    kept = history.running(datetime.now(UTC), 2 * settings.generation_grace_seconds)
    domains = [(version.domain, True) for version in kept] or [(live_domain(settings, name), True)]
    if history.newest and history.newest not in kept:
        domains.append((history.newest.domain, False))
    return [_stored(settings, domain, running) for domain, running in domains]


def _stored(settings: Settings, domain: Domain, running: bool) -> StoredVersion:
    kernel, views = Kernel(domain), []
    for name in [*domain.stored_views, QUARANTINE]:
        definition = kernel.definition_hash(name)
        tiles = built_tiles(settings, domain.name, name, definition)
        views.append(StoredView(name, mart_uri(settings, domain.name, name, definition), tiles))
    return StoredVersion(domain, kernel.generation(settings.segment_seconds), running, views)
