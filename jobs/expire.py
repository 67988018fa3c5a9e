"""Lets go of what is not needed any more: `python -m jobs.expire --domain shop`.

Speed segments that every mart has covered for a whole slice, generations that were replaced, files that no version of a
table needs; and it asks whether Kafka lets go of what is still needed.

Invariant: nothing goes that raw does not hold and the frontier of every view does not cover. In Kafka nothing is ever
deleted; what it is about to forget too early is told, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, field

from deltalake.exceptions import DeltaError
from redis import RedisError

from jobs.program import Say, argument_parser, say
from jobs.trim import forget_generations, trim_store
from lake.cuts import lower
from lake.domain import Domain
from lake.errors import TidemarkError, exit_on_error
from lake.history import checkpoint, tables_below, vacuum
from lake.kernel import QUARANTINE, Kernel
from lake.log import Log
from lake.pins import store_away
from lake.raw import Raw
from lake.registry import live_domain
from lake.retention import Retention, check_retention
from lake.settings import Settings, load_settings
from lake.stored_views import StoredVersion, stored_versions
from lake.tables import open_table


@dataclass(frozen=True)
class Table:
    """One Delta table: how many files were removed, and whether its newest version was made a checkpoint."""

    uri: str
    files: int
    checkpoint: bool


@dataclass
class Expired:
    """What a run has done; `problems` are sentences."""

    domain: str
    segments: int = 0
    generations: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    kafka: list[Retention] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def expire(settings: Settings, domain: Domain, say: Say) -> Expired:
    """Do all of it; what fails is told in `problems` and stops nothing else."""
    done = Expired(domain.name)
    versions = [version for version in stored_versions(settings, domain.name) if version.running]
    try:
        done.segments = sum(_trim(settings, version) for version in versions)
        done.generations = forget_generations(settings, domain.name)
        say(f"{done.segments} segments and {len(done.generations)} generations of the speed store were let go")
    except RedisError as error:
        done.problems.append(store_away(error))
    for uri, changes in _tables(settings, domain):
        try:
            table = Table(uri, vacuum(settings, uri) if changes else 0, checkpoint(settings, uri))
        except DeltaError as error:
            done.problems.append(f"{uri} was not tidied: {error}")
            continue
        done.tables.append(table)
        if table.files or table.checkpoint:
            say(f"{uri}: {table.files} old files removed" + (", a checkpoint was made" if table.checkpoint else ""))
    try:
        raw = Raw(settings, domain)
        covered = lower(version.covered for version in versions)
        done.kafka, problems = check_retention(Log(settings, domain), raw.positions(raw.table()), covered)
        done.problems += problems
    except TidemarkError as error:
        done.problems.append(str(error))
    return done


def _trim(settings: Settings, version: StoredVersion) -> int:
    tiles = [view.tiles for view in version.views if view.name != QUARANTINE]
    return trim_store(settings, version.domain, Kernel(version.domain), tiles)


def _tables(settings: Settings, domain: Domain) -> list[tuple[str, bool]]:
    """The domain's tables, and whether commits to them replace files; to others, they only add."""
    changing = [settings.table_uri("raw", domain.name)]
    for folder in ("marts", "quarantine"):
        changing += sorted(tables_below(settings, folder, domain.name))
    adding = [settings.table_uri(*parts) for parts in (("registry", domain.name), ("erasures",), ("verifications",))]
    adding += [settings.table_uri("dimensions", name) for name in domain.dimensions]
    tables = [(uri, True) for uri in changing] + [(uri, False) for uri in adding]
    return [(uri, changes) for uri, changes in tables if open_table(settings, uri) is not None]


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        done = expire(settings, domain, say)
        if arguments.json:
            print(json.dumps({**asdict(done), "seconds": round(time.monotonic() - began, 1)}))
        else:
            files = sum(table.files for table in done.tables)
            print(f"{done.segments} speed segments and {files} files were let go in {len(done.tables)} tables")
        if done.problems:
            raise TidemarkError("\n".join(done.problems))


def _arguments() -> argparse.Namespace:
    return argument_parser(
        "python -m jobs.expire", "Let go of what is not needed any more; see whether Kafka keeps up."
    ).parse_args()


if __name__ == "__main__":
    main()
