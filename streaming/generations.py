"""Which generations the speed layer keeps: for each domain that of the live version, of one that is being prepared, and
for a grace that of the one that was live before.

Invariant: a version that keeps the same states is the same generation, so declaring it changes nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lake.domain import Domain, load_domain
from lake.kernel import Kernel
from lake.registry import Registry
from lake.settings import Settings

Generation = tuple[str, str]
"""A domain's name, and the name of the states that fit together."""


class Generations:
    """The generations of some domains, looked up anew each time."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        self._settings, self._names = settings, names
        self._registry = Registry(settings)
        self._known: dict[tuple[str, int], tuple[Generation, Domain]] = {}

    def running(self) -> dict[Generation, Domain]:
        """What is to be kept now. A domain that was never declared is what its file says."""
        now, grace = datetime.now(UTC), self._settings.generation_grace_seconds
        found: dict[Generation, Domain] = {}
        for name in self._names:
            versions = {v.number: v for v in self._registry.history(name).running(now, grace)}
            for number in versions or (0,):
                if (name, number) not in self._known:
                    domain = versions[number].domain if versions else load_domain(name, self._settings.domains_dir)
                    generation = Kernel(domain).generation(self._settings.segment_seconds)
                    self._known[name, number] = (name, generation), domain
                generation_of, domain = self._known[name, number]
                found.setdefault(generation_of, domain)
        return found
