"""The log of erasures: what was erased, why, when and how much; of whom, only whoever knows the value can tell.

Invariant: rows are only ever added: one when an erasure begins, before anything is changed, and one when it is proved.
One without the other was killed; the next run for the same subject goes on with it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from lake.settings import Settings
from lake.subject import Subject
from lake.tables import data_files, open_table, read_file

BEGUN, PROVED = "begun", "proved"
SCHEMA = pa.schema(
    [
        ("erasure", pa.string()),
        ("action", pa.string()),
        ("domain", pa.string()),
        ("salt", pa.string()),
        ("subject", pa.string()),
        ("reason", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("records", pa.int64()),
        ("tiles", pa.int64()),
    ]
)
"""`subject` is SHA-256 over the row's salt and FIELD=VALUE, in hex; `records` and `tiles` are what was found so far."""


@dataclass(frozen=True)
class Erasure:
    """One erasure, as it began."""

    id: str
    domain: str
    reason: str
    at: datetime


class ErasureLog:
    """The erasures of all domains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.uri = settings.table_uri("erasures")

    def rows(self) -> list[dict]:
        """All rows, oldest first."""
        table = open_table(self._settings, self.uri)
        found = [read_file(self._settings, self.uri, file["path"], None) for file in data_files(table)] if table else []
        return sorted((row for part in found for row in part.to_pylist()), key=lambda row: row["at"])

    def unfinished(self, domain: str, subject: Subject) -> Erasure | None:
        """The subject's erasure that was begun and never proved, the newest if there are several."""
        rows = [row for row in self.rows() if row["domain"] == domain]
        proved = {row["erasure"] for row in rows if row["action"] == PROVED}
        for row in reversed(rows):
            if row["erasure"] not in proved and row["subject"] == _hashed(subject, row["salt"]):
                return Erasure(row["erasure"], domain, row["reason"], row["at"])
        return None

    def begin(self, domain: str, subject: Subject, reason: str, records: int, tiles: int) -> Erasure:
        """Note what is about to be erased."""
        erasure = Erasure(secrets.token_hex(8), domain, reason, datetime.now(UTC))
        self._add(erasure, subject, BEGUN, erasure.at, records, tiles)
        return erasure

    def prove(self, erasure: Erasure, subject: Subject, records: int, tiles: int) -> None:
        """Note that nothing of it is left."""
        self._add(erasure, subject, PROVED, datetime.now(UTC), records, tiles)

    def _add(self, erasure: Erasure, subject: Subject, action: str, at: datetime, records: int, tiles: int) -> None:
        salt = secrets.token_hex(16)
        row = {
            "erasure": erasure.id,
            "action": action,
            "domain": erasure.domain,
            "salt": salt,
            "subject": _hashed(subject, salt),
            "reason": erasure.reason,
            "at": at,
            "records": records,
            "tiles": tiles,
        }
        table = DeltaTable.create(
            self.uri,
            SCHEMA,
            mode="ignore",
            configuration={"delta.appendOnly": "true"},
            storage_options=self._settings.storage_options(),
        )
        rows = pa.Table.from_pylist([row], schema=SCHEMA)
        write_deltalake(table, rows, mode="append", commit_properties=CommitProperties(max_commit_retries=15))


def _hashed(subject: Subject, salt: str) -> str:
    return hashlib.sha256(f"{salt}{subject.field}={subject.value}".encode()).hexdigest()
