"""What an erasure has done: for programs as it is, for people in sentences."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Forgotten:
    """What a run has done, or with `dry_run` would do. `proved`: every object was searched, and nothing was there."""

    domain: str
    before: str
    dry_run: bool
    records: int
    """The subject's records before that time, those included that a killed run has erased."""
    partitions: dict[int, int]
    later: int
    """The subject's records from that time on, which stay."""
    mentioned: int
    """Records of others, before that time, that name the value; they stay."""
    kafka_until: str | None
    """When Kafka has let go of the records at the latest; 'never', or None if it has none of them any more."""
    feeds: list[str]
    """The domains that get events of this one, and so may hold the subject, too."""
    tiles: dict[str, int] = field(default_factory=dict)
    """Of each view, how many tiles were built anew."""
    objects: int = 0
    removed: int = 0
    proved: bool = False


def report(done: Forgotten) -> str:
    """The outcome in sentences."""
    tiles = sum(done.tiles.values())
    if done.dry_run:
        lines = [f"would erase {done.records} records before {done.before} and build {tiles} tiles anew"]
    else:
        lines = [
            f"{done.records} records before {done.before} are erased and {tiles} tiles were built anew; "
            f"nothing of them is in {done.objects} objects ({done.removed} were removed)"
        ]
    if done.kafka_until:
        lines.append(f"Kafka keeps their bytes until: {done.kafka_until}")
    if done.later:
        lines.append(f"{done.later} records of the subject from then on stay")
    if done.mentioned:
        lines.append(f"{done.mentioned} records of others name the value somewhere; they stay")
    if done.feeds:
        lines.append(f"{', '.join(done.feeds)} got events of {done.domain}: forget the subject there, too")
    return "\n".join(lines)
