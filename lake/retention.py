"""How long Kafka keeps what was appended, and whether it is about to forget what is still needed.

Invariant: Kafka removes whole files of a partition, by their newest record; so a record goes at the latest once its
file was closed (segment.ms) and retention.ms has passed after that. Nothing here deletes anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lake.cuts import Cut, format_time
from lake.log import Log
from lake.raw import lies_between

_SOON = 0.2
"""The part of the retention that is left for whoever is behind, when it is told."""


@dataclass(frozen=True)
class Retention:
    """One partition: what Kafka begins with, and will begin with soon, beside what raw holds and the marts cover."""

    partition: int
    begin: int
    soon: int
    raw: int
    frontier: int


def check_retention(log: Log, held: Cut, covered: Cut) -> tuple[list[Retention], list[str]]:
    """Every partition, and a sentence for each thing that Kafka has forgotten too early, or soon will have.

    `held` are raw's positions, `covered` is the cut of the marts' frontier, from which the speed layer replays.
    """
    settings = log.configuration("retention.ms", "retention.bytes")
    keeps = int(settings["retention.ms"])
    begin, end = log.begin(), log.end()
    soon = begin
    if keeps >= 0:
        soon = log.first_since(datetime.now(UTC) - timedelta(milliseconds=keeps * (1 - _SOON)))
    partitions = [Retention(p, begin[p], soon[p], held.get(p, 0), covered.get(p, 0)) for p in sorted(end)]
    problems = [said for each in partitions if end[each.partition] for said in _said(each, keeps)]
    if int(settings["retention.bytes"]) >= 0 and problems:
        problems.append(f"retention.bytes is {settings['retention.bytes']}: Kafka may forget sooner than that")
    return partitions, problems


def gone_by(log: Log, places: pa.Table) -> str | None:
    """When Kafka has let go of these records (partition, offset, append_time) at the latest: a time, or 'never'.

    None if it has none of them any more.
    """
    left = places.filter(lies_between(places, log.begin(), log.end()))
    if not len(left):
        return None
    settings = {name: int(value) for name, value in log.configuration("retention.ms", "segment.ms").items()}
    if settings["retention.ms"] < 0:
        return "never"
    last: datetime = pc.max(left["append_time"]).as_py()
    return format_time((last + timedelta(milliseconds=sum(settings.values()))).replace(microsecond=0))


def _said(found: Retention, keeps: int) -> list[str]:
    """A place that Kafka has passed, or is about to pass, by name."""
    places = (
        ("raw", found.raw, "events that were never landed are lost; start the lander (`tidemark status`)"),
        ("the marts' frontier", found.frontier, "the speed layer cannot replay from there; build up to now"),
    )
    problems = []
    for name, offset, so in places:
        if found.begin > offset:
            problems.append(
                f"partition {found.partition}: Kafka begins at offset {found.begin}, {name} is at {offset}: "
                f"{found.begin - offset} events between are not in Kafka any more; {so}"
            )
        elif found.soon > offset:
            problems.append(
                f"partition {found.partition}: Kafka, which keeps {timedelta(milliseconds=keeps)}, will soon have "
                f"forgotten what is before offset {found.soon}, and {name} is at {offset}; {so}"
            )
    return problems
