"""Redefines views without a gap: `python -m jobs.redefine --domain shop`.

The file's content becomes a version; the marts of its changed views are built in the shadow, from the beginning up to
the live frontier; the speed layer computes it from there; when it has come as far as the live version, it is promoted.

Invariant: until the one commit that promotes, whatever happens here changes nothing that is served. Each step finds
what an earlier run has done, so a run that was killed is simply run again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime

from jobs.build_mart import Build
from jobs.program import Say, argument_parser, say
from jobs.report import Built, report
from lake.cuts import EPOCH, Cut, covers, format_time, upper
from lake.domain import Domain, load_domain
from lake.errors import MissingCoverage, TidemarkError, TileRefused, exit_on_error
from lake.kernel import QUARANTINE, Kernel
from lake.marts import tiles_by_view
from lake.registry import Registry, Version
from lake.serving import Serving
from lake.settings import Settings, load_settings
from lake.waiting import wait_until


@dataclass
class Redefinition:
    """What a run has done."""

    domain: str
    version: int
    was_live: int | None
    frontier: datetime
    built: list[Built] = field(default_factory=list)


def redefine(settings: Settings, wish: Domain, say: Say) -> Redefinition:
    """Make `wish` the live version of its domain. Raises BadDomain if old events do not fit it."""
    registry = Registry(settings)
    before = registry.live(wish.name)
    version = registry.declare(wish)
    live = registry.live(wish.name)
    assert live is not None
    base = before or live
    result = Redefinition(wish.name, version.number, before.number if before else None, _frontier(settings, base))
    say(f"version {version.number} of {wish.name} is declared; version {live.number} is live")
    if before is not None:
        result.built = _build(settings, version, result.frontier, say)
    if version.number != live.number:
        registry.built(wish.name, version.number)
        say("its marts are built; waiting for the speed layer to come as far as the live version")
        _await_speed(settings, live, version)
        registry.promote(wish.name, version.number)
    say(f"version {version.number} of {wish.name} is live")
    return result


def _frontier(settings: Settings, version: Version) -> datetime:
    """How far the version's marts have come, at most: a cut that is sealed."""
    return max(_frontiers(settings, version.domain, list(version.domain.stored_views)).values(), default=EPOCH)


def _frontiers(settings: Settings, domain: Domain, views: list[str]) -> dict[str, datetime]:
    runs = tiles_by_view(settings, domain.name, Kernel(domain), views)
    return {view: run[-1].t1 if run else EPOCH for view, run in runs.items()}


def _build(settings: Settings, version: Version, t1: datetime, say: Say) -> list[Built]:
    """The marts that are behind `t1`, each from its own frontier: a new definition's from the beginning."""
    domain = version.domain
    frontiers = _frontiers(settings, domain, [*domain.stored_views, QUARANTINE])
    behind = [view for view, frontier in frontiers.items() if frontier < t1]
    if not behind:
        return []
    say(f"building {', '.join(behind)} up to {format_time(t1)}")
    build = Build(settings, domain, t1, say)
    build.run(behind, None)
    if build.refused:
        raise TileRefused("\n".join(str(refusal) for refusal in build.refused))
    return build.built


def _await_speed(settings: Settings, live: Version, version: Version) -> None:
    """Until the version can be answered as far as the live one could when this was called."""
    old, new = Serving(settings, live.domain), Serving(settings, version.domain)
    shown = upper(old.heads().values())
    last: list[Cut] = []

    def reached() -> bool | None:
        try:
            last[:] = new.heads().values()
        except MissingCoverage:  # a put may come between the looks at marts and store
            return None
        return all(covers(head, shown) for head in last) or None

    def too_late() -> TidemarkError:
        return MissingCoverage(
            f"after {settings.redefine_timeout_seconds:.0f} s the speed layer has brought version {version.number} to "
            f"{upper(last)}, and version {live.number}, which stays live, to {shown}; is it running (`tidemark "
            "status`)? Run this again to go on, or raise TIDEMARK_REDEFINE_TIMEOUT_SECONDS"
        )

    wait_until(reached, settings.redefine_timeout_seconds, 0.2, too_late)


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        wish = load_domain(arguments.domain, settings.domains_dir)
        done = redefine(settings, wish, say)
        seconds = round(time.monotonic() - began, 1)
        if arguments.json:
            told = asdict(done) | {"frontier": format_time(done.frontier), "seconds": seconds}
            print(json.dumps(told))
        else:
            if done.built:
                print(report(done.built, seconds))
            print(f"version {done.version} of {done.domain} is live")


def _arguments() -> argparse.Namespace:
    return argument_parser(
        "tidemark redefine", "Make a domain file's content the live version, without a gap."
    ).parse_args()


if __name__ == "__main__":
    main()
