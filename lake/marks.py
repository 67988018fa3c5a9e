"""What records get from other records of their partition: the dimensions' versions, and whether they repeat one.

Invariant: Marks of [start, end) are exact for every record in it, if `start` is a cut; they come from raw alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from lake.cuts import Cut
from lake.domain import Domain
from lake.duplicates import IDENTITIES, REPEATS, find_repeats
from lake.kernel import Kernel, version_of
from lake.raw import Raw, between
from lake.raw_file import RawFile
from lake.timeline import Timeline, Versions, announcements, survey, timeline

_COLUMNS = ["partition", "offset", "append_time", "headers"]


@dataclass(frozen=True)
class Marks:
    """For a domain with dimensions or dedup; `Marks()` is what any other domain's records get."""

    timeline: Timeline | None = None
    dimensions: tuple[str, ...] = ()
    repeats: pa.Table = field(default_factory=REPEATS.empty_table)

    def parse(self, kernel: Kernel, rows: pa.Table) -> None:
        """Let the kernel take in the records, with what they get from others."""
        kernel.parse(self.with_versions(rows))
        kernel.mark(self.repeats)

    def with_versions(self, rows: pa.Table) -> pa.Table:
        """The records with the column `version_of(dimension)` for each dimension."""
        if self.timeline is not None:
            partition, offset = rows["partition"].to_numpy(), rows["offset"].to_numpy()
            for name in self.dimensions:
                if version_of(name) not in rows.column_names:
                    held = self.timeline.versions(name, partition, offset)
                    rows = rows.append_column(version_of(name), pa.array(held))
        return rows


def needs_marks(domain: Domain) -> bool:
    return bool(domain.dedup or domain.dimensions)


def read_timeline(
    raw: Raw,
    files: Iterable[RawFile],
    start: Cut,
    end: Cut,
    segment_seconds: int,
    before: Mapping[int, Versions] | None = None,
) -> Timeline:
    """The timeline of [start, end), from those columns of the files that it needs. `start` is a cut."""
    surveys, announced = [], []
    for file in raw.ahead(files):
        rows = between(raw.read(file, _COLUMNS), start, end)
        surveys.append(survey(rows, segment_seconds * 1000))
        announced += announcements(rows)
    return timeline(surveys, announced, before)


def placed(identities: pa.Table, of: Timeline) -> pa.Table:
    """IDENTITIES with `segment`, as `find_repeats` takes them."""
    segments = of.segments(identities["partition"].to_numpy(), identities["offset"].to_numpy())
    return identities.append_column("segment", pa.array(segments))


def marks_of(kernel: Kernel, domain: Domain, records: Iterable[pa.Table], segment_seconds: int) -> Marks:
    """The marks of a log's records from its beginning on, in any order, found in this process in one pass.

    Where the domain needs none, no record is read.
    """
    if not needs_marks(domain):
        return Marks()
    surveys, announced, identities = [], [], [IDENTITIES.empty_table()]
    for rows in records:
        surveys.append(survey(rows, segment_seconds * 1000))
        announced += announcements(rows)
        if domain.dedup:
            kernel.parse(rows)
            identities.append(kernel.identities())
    whole = timeline(surveys, announced)
    repeats = REPEATS.empty_table()
    if domain.dedup:
        window_ms = domain.dedup.segments * segment_seconds * 1000
        repeats = find_repeats(placed(pa.concat_tables(identities), whole), window_ms)
    return Marks(whole, tuple(domain.dimensions), repeats)
