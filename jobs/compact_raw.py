"""Makes the many small files of raw few large ones: `python -m jobs.compact_raw --domain shop`.

Raw is partitioned by day, so no file can hold records of two days; a day is looked at again by every run.

Invariant: what raw holds does not change, nor does any version that a reader has pinned: the files that were replaced
stay until a vacuum. Only days are touched that are past and that every mart of the domain has covered.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise

import pyarrow.compute as pc
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import DeltaError

from jobs.program import Say, argument_parser, say
from lake.cuts import EPOCH, Cut, lower
from lake.domain import Domain
from lake.errors import RawDamaged, TidemarkError, exit_on_error
from lake.kernel import QUARANTINE, Kernel
from lake.marts import tiles_by_view
from lake.raw import DATE, Raw, lies_between
from lake.raw_file import RawFile
from lake.registry import live_domain
from lake.settings import Settings, load_settings

TARGET_BYTES = 256 << 20
ROWS_PER_GROUP = 50_000  # what a slice reads at least of each file, and what the writer holds
RUN = "tidemark.compaction"  # a property of the table: the run that may compact it
_TRIES = 5


@dataclass(frozen=True)
class Day:
    """What became of one day's files."""

    date: str
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass
class Compacted:
    """What a run has done; `closed_before` is the end, excluded, of the days that it could look at."""

    domain: str
    closed_before: str
    days: list[Day] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Days before that which hold records that a mart has not covered: a broker's clock was set back."""
    files: int = 0
    version: int = 0


class Compaction:
    """One run's right to compact, as long as no other run has begun.

    delta-rs lets two compactions of the same files both commit, and then each record is there twice. What it does
    refuse is a commit that is older than a change of the table's properties. So a run begins with such a change, and
    whoever has begun before it, paused, doubled or killed, can commit nothing any more.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._id = secrets.token_hex(8)
        self._begun = False
        self.table = raw.table()

    def begin(self) -> None:
        """Overtake every other run. The lander's commit at this moment fails, and it lands the same records again."""
        if not self._begun:
            self._attempt(lambda: self.table.alter.set_table_properties({RUN: self._id}, raise_if_not_exists=False))
            self._begun = True
            self.table = self._raw.table()  # what an older run has committed before is in it

    def compact(self, day: date) -> None:
        """Join the day's files in the order in which they were landed, so that a slice is a run of row groups."""

        def attempt() -> None:
            if self._begun and self.table.metadata().configuration.get(RUN) != self._id:
                raise TidemarkError(
                    f"{self._raw.uri}: another compaction has begun since this one, which stops; what is done is done, "
                    "and the other one goes on. If it was killed, run this again"
                )
            if _gains(self.files(day)):
                self.table.optimize.compact(
                    [(DATE, "=", day.isoformat())],
                    target_size=TARGET_BYTES,
                    max_concurrent_tasks=1,
                    writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=ROWS_PER_GROUP),
                )

        self._attempt(attempt)

    def files(self, day: date) -> list[RawFile]:
        """The files of a day as they were when the table was last looked at."""
        return _by_date(self._raw.files(self.table))[day]

    def _attempt(self, commit: Callable[[], None]) -> None:
        """Commit on the table as it is. One that failed may have landed although its reply was lost: look again."""
        failure: Exception | None = None
        for _ in range(_TRIES):
            try:
                return commit()
            except (DeltaError, OSError) as error:
                failure = error
                self.table = self._raw.table()
        raise TidemarkError(
            f"{self._raw.uri}: {_TRIES} commits in a row did not succeed ({str(failure).splitlines()[0]}); run this "
            "again later: nothing is lost meanwhile, only small files stay"
        ) from failure


def compact_raw(settings: Settings, domain: Domain, now: datetime, say: Say) -> Compacted:
    """Compact the closed days that gain by it, a commit each; if there are any, make a checkpoint of the table's log.

    Raises TidemarkError if another run begins meanwhile, RawDamaged if records are fewer than they were.
    """
    raw = Raw(settings, domain)
    frontier, cut = covered(settings, domain)
    closed_before = min(now, frontier).date()
    done = Compacted(domain.name, closed_before.isoformat())
    run = Compaction(raw)
    for day, files in sorted(_by_date(raw.files(run.table)).items()):
        if day >= closed_before or not _gains(files):
            continue
        if _reaches_beyond(raw, run.table, files, cut):
            done.open.append(day.isoformat())
            continue
        began = time.monotonic()
        run.begin()
        before = run.files(day)
        if not _gains(before):
            continue
        run.compact(day)
        after = run.files(day)
        _check(raw, day, before, after)
        sizes = sum(file.bytes for file in before), sum(file.bytes for file in after)
        done.days.append(
            Day(day.isoformat(), len(before), len(after), *sizes, seconds=round(time.monotonic() - began, 1))
        )
        say(f"{day}: {len(before)} files of {sizes[0]} bytes are {len(after)} of {sizes[1]}")
    if done.days:
        run.table.create_checkpoint()
    done.files, done.version = len(raw.files(run.table)), run.table.version()
    return done


def covered(settings: Settings, domain: Domain) -> tuple[datetime, Cut]:
    """The smallest frontier of the domain's marts and the quarantine, and the offsets that all of them have covered."""
    kernel = Kernel(domain)
    views = [*domain.stored_views, QUARANTINE]
    runs = tiles_by_view(settings, domain.name, kernel, views)
    ends = [(run[-1].t1, run[-1].cut_end) if run else (EPOCH, {}) for run in runs.values()]
    return min(t1 for t1, _ in ends), lower(cut for _, cut in ends)


def _by_date(files: Iterable[RawFile]) -> dict[date, list[RawFile]]:
    found: dict[date, list[RawFile]] = {}
    for file in files:
        found.setdefault(file.date, []).append(file)
    return found


def _gains(files: list[RawFile]) -> bool:
    """Whether any two neighbours fit into one; only such are joined."""
    return any(one.bytes + following.bytes <= TARGET_BYTES for one, following in pairwise(files))


def _reaches_beyond(raw: Raw, table: DeltaTable, files: list[RawFile], cut: Cut) -> bool:
    """Whether they hold a record that is not before the cut."""
    end = raw.positions(table)
    for file in raw.ahead(file for file in files if file.may_hold(cut, end)):
        rows = raw.read(file, ["partition", "offset"])
        if pc.any(lies_between(rows, cut, end)).as_py():
            return True
    return False


def _check(raw: Raw, day: date, before: list[RawFile], after: list[RawFile]) -> None:
    records, left = (sum(file.rows for file in files) for files in (before, after))
    if left < records:
        raise RawDamaged(
            f"{raw.uri} had {records} records of {day}, after its compaction {left}; let nothing expire, and restore "
            "the version before it"
        )


def report(done: Compacted, seconds: float) -> str:
    """The outcome, a line a day."""
    lines = [
        f"{day.date}: {day.files_before} files of {day.bytes_before} bytes are {day.files_after} of {day.bytes_after}"
        for day in done.days
    ]
    if done.closed_before <= EPOCH.date().isoformat():
        lines.append("no day is closed: some mart has no tile yet")
    lines += [f"{day}: left alone, for it holds records that a mart has not covered" for day in done.open]
    return "\n".join([*lines, f"{done.files} files in all; {seconds:.1f} s"])


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        done = compact_raw(settings, domain, datetime.now(UTC), say)
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps(asdict(done) | {"seconds": seconds}) if arguments.json else report(done, seconds))


def _arguments() -> argparse.Namespace:
    return argument_parser(
        "python -m jobs.compact_raw", "Compact the days of raw that all marts have covered."
    ).parse_args()


if __name__ == "__main__":
    main()
