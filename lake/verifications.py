"""What verifications have found, kept in the lake: one row each of `verifications`, for whoever was not there.

Invariant: rows are only ever added, so any number may be kept at once; none holds a state or a key of a view, so what
was erased is not found again here.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from lake.cuts import Cut, epoch_ms, from_ms, upper
from lake.domain import Domain
from lake.errors import lake_away
from lake.settings import Settings
from lake.tables import data_files, open_table, read_file
from lake.verify import Report, verify

SCHEMA = pa.schema(
    [
        ("domain", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("seconds", pa.float64()),
        ("ok", pa.bool_()),
        ("heads", pa.map_(pa.int32(), pa.int64())),
        ("rows_compared", pa.int64()),
        ("mismatches", pa.int64()),
        ("problems", pa.string()),
        ("report", pa.string()),
    ]
)
_MAX_PROBLEMS = 50
_MAX_LETTERS = 1000


@dataclass(frozen=True)
class Verification:
    """One verification that began `at`, to the millisecond. `heads`: for each partition, the offset up to which
    anything was compared, excluded.

    `problems` are sentences, one a line: none means that every number was right. `report` is the Report without its
    examples; None if there is none, since the verification could not be carried out.
    """

    domain: str
    at: datetime
    seconds: float
    ok: bool
    problems: tuple[str, ...] = ()
    heads: Cut = field(default_factory=dict)
    rows_compared: int = 0
    mismatches: int = 0
    report: dict | None = field(default=None, repr=False)

    @property
    def verdict(self) -> str:
        """`exact`, `not exact`, or `unknown` where nothing could be compared."""
        return "exact" if self.ok else "not exact" if self.rows_compared else "unknown"


class Verifications:
    """The verifications of all domains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._uri = settings.table_uri("verifications")

    # Appends never conflict with each other, but with others that make the table at the same moment.
    @retry(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(10),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    def keep(self, verification: Verification) -> None:
        """Add one. Raises OSError or DeltaError if the lake does not take it."""
        table = open_table(self._settings, self._uri)
        if table is None:
            options = self._settings.storage_options()
            table = DeltaTable.create(
                self._uri, SCHEMA, mode="ignore", partition_by=["domain"], storage_options=options
            )
        write_deltalake(table, pa.Table.from_pylist([_row(verification)], schema=SCHEMA), mode="append")

    def newest(self, domain: str) -> Verification | None:
        """The last one of a domain, None if none was ever kept. Raises as `last`."""
        return next(iter(self.last(1, domain)), None)

    def last(self, count: int, domain: str | None = None) -> list[Verification]:
        """The last `count`, newest first, of one domain or of all. Raises OSError or DeltaError if the lake is away."""
        table = open_table(self._settings, self._uri)
        if table is None:
            return []
        files = [file for file in data_files(table) if domain in (None, file["partition.domain"])]
        # A file is one verification, so the newest are found without reading the others.
        files = sorted(files, key=lambda file: file["max.at"], reverse=True)[:count]
        return [
            _verification({**row, "domain": file["partition.domain"]})
            for file in files
            for row in read_file(self._settings, self._uri, file["path"], SCHEMA.names[1:]).to_pylist()
        ]


def verify_and_keep(settings: Settings, domain: Domain) -> Report:
    """Verify and keep what was found, also that it could not be carried out. That it could not be kept is a problem.

    Raises whatever `verify` does.
    """
    at, begun = from_ms(epoch_ms(datetime.now(UTC))), time.monotonic()
    kept = Verifications(settings)
    try:
        report = verify(settings, domain)
    except Exception as error:
        # Whatever it was, a verdict that is old must not stand as the last one.
        said = f"could not be carried out: {_on_one_line(error)}"
        with suppress(OSError, DeltaError):  # most likely it is the lake that is away: then that is what is raised
            kept.keep(Verification(domain.name, at, time.monotonic() - begun, False, (said,)))
        raise
    try:
        kept.keep(verification_of(report, at, time.monotonic() - begun))
    except (OSError, DeltaError) as error:
        report.problems.append(f"this verification is not kept: {lake_away(settings.s3_endpoint, error)}")
    return report


def verification_of(report: Report, at: datetime, seconds: float) -> Verification:
    """What is kept of a report: all but its examples, which are rows of states, and the first problems only."""
    told = report.as_dict()
    del told["problems"]
    for view in told["views"]:
        del view["examples"]
    problems = [_on_one_line(problem) for problem in report.problems[:_MAX_PROBLEMS]]
    if more := len(report.problems) - len(problems):
        problems.append(f"... and {more} more")
    return Verification(
        domain=report.domain,
        at=at,
        seconds=round(seconds, 3),
        ok=report.ok,
        problems=tuple(problems),
        heads=upper(view.head for view in report.views),
        rows_compared=sum(view.rows_compared for view in report.views),
        mismatches=sum(view.mismatches for view in report.views),
        report=told,
    )


def _on_one_line(said: object) -> str:
    return " ".join(str(said).split())[:_MAX_LETTERS]


def _row(verification: Verification) -> dict:
    row = {name: getattr(verification, name) for name in SCHEMA.names}
    row["heads"] = list(verification.heads.items())
    row["problems"] = "\n".join(verification.problems)
    row["report"] = None if verification.report is None else json.dumps(verification.report)
    return row


def _verification(row: dict) -> Verification:
    told = {"problems": tuple(row["problems"].splitlines()), "heads": dict(row["heads"])}
    report = None if row["report"] is None else json.loads(row["report"])
    return Verification(**{**row, **told, "report": report})
