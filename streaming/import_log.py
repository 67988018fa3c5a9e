"""How far the import of a file has come: the Delta table `imports/<domain>`, a row a checkpoint.

Invariant: a row says that the first `records` records of the file are acknowledged, and that whatever is sent of it
after the row stands in the log at or behind `ends`. A row is written from the table object that the one before was read
from, its sequence being a Delta transaction id, so of two importers of one file at most one can go on.

What stands behind `ends` already is read back by its header, so an importer that was killed leaves neither a hole nor a
double. One that is only frozen cannot be told from a dead one: who takes over waits `QUIET_SECONDS`, in which a living
one would have written a row, or given up what it had under way. One that wakes after that stops at its next checkpoint,
having sent twice a chunk at most, which it says.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from lake.cuts import Cut
from lake.domain import Domain
from lake.errors import TidemarkError, lake_away
from lake.log import Log
from lake.raw import Raw, between
from lake.settings import Settings
from lake.tables import data_files, open_table, read_file
from streaming.log_reader import LogReader
from streaming.topic import Topic

IMPORT_HEADER = "tidemark-import"
"""On each record that was imported: <16 hex digits of the file's SHA-256>:<number of the record in the file>."""
CHECKPOINT_SECONDS = 2.0
QUIET_SECONDS = 10.0
RUNNING, STOPPED, DONE = "running", "stopped", "done"
_COLUMNS = ("partition", "offset", "headers")
_SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("file", pa.string()),
        pa.field("reading", pa.string()),
        pa.field("state", pa.string()),
        pa.field("records", pa.int64()),
        pa.field("topic_id", pa.string()),
        pa.field("ends", pa.string()),
        pa.field("time", pa.timestamp("us", "UTC")),
    ]
)


class ImportTaken(TidemarkError):
    """Another process imports the same file into the same domain."""


@dataclass(frozen=True)
class Checkpoint:
    """One row. `reading` says how the file was read, which must not change halfway."""

    sha256: str
    file: str
    reading: str
    topic_id: str
    ends: Cut
    state: str = RUNNING
    records: int = 0
    sequence: int = 0

    @property
    def mark(self) -> str:
        """What the headers of this file's records begin with."""
        return self.sha256[:16]


class ImportLog:
    """The checkpoints of one file's import into one domain."""

    def __init__(self, settings: Settings, domain: Domain, sha256: str) -> None:
        self._settings, self._domain, self._sha256 = settings, domain, sha256
        self._uri = settings.table_uri("imports", domain.name)
        options = settings.storage_options()
        try:
            DeltaTable.create(self._uri, _SCHEMA, mode="ignore", partition_by=["sha256"], storage_options=options)
            self._table = DeltaTable(self._uri, storage_options=options)
        except (OSError, DeltaError) as error:
            raise TidemarkError(lake_away(settings.s3_endpoint, error)) from error

    def last(self) -> Checkpoint | None:
        """The newest row of the table as it was when it was read; None for a file that was never begun."""
        own = [file for file in data_files(self._table) if file["partition.sha256"] == self._sha256]
        if not own:
            return None
        path = max(own, key=lambda file: file["max.sequence"])["path"]
        names = [name for name in _SCHEMA.names if name not in ("sha256", "time")]
        [row] = read_file(self._settings, self._uri, path, names).to_pylist()
        ends = {int(p): offset for p, offset in json.loads(row.pop("ends")).items()}
        return Checkpoint(sha256=self._sha256, ends=ends, **row)

    def await_quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Return once nobody has moved this import for so long. Raises ImportTaken if somebody does."""
        before = self.last()
        if before is None or before.state != RUNNING:
            return
        time.sleep(seconds)
        self._table.update_incremental()
        if self.last() != before:
            raise self._taken()

    def write(self, checkpoint: Checkpoint) -> Checkpoint:
        """The next row, and it as written. Raises ImportTaken if another importer has written since."""
        following = replace(checkpoint, sequence=checkpoint.sequence + 1)
        row = {**following.__dict__, "ends": json.dumps(following.ends), "time": datetime.now(UTC)}
        mine = CommitProperties(app_transactions=[Transaction(self._sha256, following.sequence)], max_commit_retries=15)
        try:
            write_deltalake(self._table, pa.Table.from_pylist([row], _SCHEMA), mode="append", commit_properties=mine)
        except CommitFailedError as error:
            raise self._taken() from error
        return following

    def sent_since(self, checkpoint: Checkpoint, topic: Topic) -> set[int]:
        """The numbers of this file's records that stand in the log behind the checkpoint: from raw, then from Kafka."""
        start, found = dict(checkpoint.ends), set()
        raw = Raw(self._settings, self._domain)
        if table := open_table(self._settings, raw.uri):
            held = raw.positions(table)
            for file in raw.ahead(file for file in raw.files(table) if file.may_hold(start, held)):
                found |= _numbers(between(raw.read(file, [*_COLUMNS]), start, held), checkpoint.mark)
            start = {p: max(start.get(p, 0), held.get(p, 0)) for p in {*start, *held}}
        end = Log(self._settings, self._domain).end()
        positions = {p: start.get(p, 0) for p in topic.partitions}
        with closing(LogReader(self._settings, topic, positions)) as reader:
            while any(reader.positions.get(p, offset) < offset for p, offset in end.items()):
                if batch := reader.poll(20_000, 32 << 20, 1.0):
                    found |= _numbers(batch.rows, checkpoint.mark)
        return found

    def _taken(self) -> ImportTaken:
        return ImportTaken(
            f"another process imports the file {self._sha256[:16]}... into '{self._domain.name}' at this moment; "
            "expected one at a time: wait for it, or stop it and run this again"
        )


def header(mark: str, number: int) -> tuple[str, bytes]:
    return IMPORT_HEADER, b"%b:%d" % (mark.encode(), number)


def _numbers(rows: pa.Table, mark: str) -> set[int]:
    begin = f"{mark}:".encode()
    return {
        int(told["value"][len(begin) :])
        for headers in rows["headers"].to_pylist()
        for told in headers or ()
        if told["key"] == IMPORT_HEADER and (told["value"] or b"").startswith(begin)
    }
