"""raw/<domain>: the master dataset. Every record of the log as received, good or bad, append-only.

Invariant: per topic-partition, the Delta transaction version is the next position, and it is in the same commit as
the rows before it. So `positions` is what raw holds, exactly, whatever died when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from lake.cuts import EPOCH, Cut, covers, epoch_ms, format_time
from lake.domain import Domain
from lake.errors import LogRecreated, NotSealed, RawDamaged
from lake.headers import read_header
from lake.parse import MARKER_HEADER
from lake.raw_file import RawFile, group_bounds
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from lake.small_files import fetched_ahead
from lake.tables import data_files, fetch_file, open_table, read_file, stream_file
from lake.waiting import wait_until

DATE = "append_date"
# More than any cluster has; a header that says so was written by somebody else.
_MOST_PARTITIONS = 1_000_000
STORED_SCHEMA = RAW_SCHEMA.append(pa.field(DATE, pa.date32()))
TOPIC_ID = "tidemark.topicId"
# A compacted file is too large to be held whole.
_ROWS, _BYTES = 250_000, 64 << 20


class Raw:
    """One domain's raw table."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self.settings = settings
        self._domain = domain
        self.uri = settings.table_uri("raw", domain.name)

    def create(self, topic_id: str) -> DeltaTable:
        """Open the table, made for this topic if it was not there. Raises LogRecreated if it holds another topic's."""
        DeltaTable.create(
            self.uri,
            STORED_SCHEMA,
            mode="ignore",
            partition_by=[DATE],
            configuration={
                TOPIC_ID: topic_id,
                "delta.appendOnly": "true",
                # partition, offset and append_time; statistics of 2 MiB values would only bloat the log.
                "delta.dataSkippingNumIndexedCols": "3",
                # An opening reads the commits since the last checkpoint, and lists those that are kept. A commit from a
                # version that is not kept any more is refused.
                "delta.checkpointInterval": "20",
                "delta.logRetentionDuration": "interval 6 hours",
            },
            storage_options=self.settings.storage_options(),
            raise_if_key_not_exists=False,
        )
        table = self.table()
        if (held := self.topic_id(table)) != topic_id:
            raise LogRecreated(
                f"topic '{self._domain.topic}' has id {topic_id}, but raw/{self._domain.name} was landed from {held}: "
                "the topic was made anew, and its offsets mean other events. Stop whoever appends to it, and run "
                f"`tidemark restore {self._domain.name}`: its offsets go on where raw ends then"
            )
        return table

    def table(self, version: int | None = None) -> DeltaTable:
        """The table as it is now, or at `version`. Raises RawDamaged if there is none."""
        table = open_table(self.settings, self.uri, version)
        if table is None:
            raise RawDamaged(
                f"{self.uri} does not exist: nothing of '{self._domain.name}' was ever landed; is the lander running?"
            )
        return table

    @staticmethod
    def topic_id(table: DeltaTable) -> str:
        """The id of the topic these records came from."""
        return table.metadata().configuration[TOPIC_ID]

    def positions(self, table: DeltaTable) -> Cut:
        """For each partition, the offset up to which (excluded) this version of raw holds the log."""
        topic_id = self.topic_id(table)
        # Asking for a transaction that is not there reads the whole log since its last checkpoint.
        last = max((file["max.partition"] for file in data_files(table)), default=-1)
        versions = {p: table.transaction_version(f"{topic_id}-{p}") for p in range(last + 1)}
        return {p: version for p, version in versions.items() if version is not None}

    def append(self, table: DeltaTable, rows: pa.Table, positions: Cut) -> None:
        """Commit rows (RAW_SCHEMA) and the next position of each partition they came from, at once.

        Writes from `table`, so a commit of any of these partitions since it was read makes this one fail. On any error
        the caller reloads and compares: the commit may have landed although its reply was lost.
        """
        dates = rows["append_time"].cast(pa.date32())
        write_deltalake(
            table,
            rows.append_column(pa.field(DATE, pa.date32()), dates),
            mode="append",
            commit_properties=positions_of(self.topic_id(table), positions, 15),
        )

    def files(self, table: DeltaTable) -> list[RawFile]:
        """The data files of this version with what the log says of them, oldest records first."""
        return sorted((RawFile(f) for f in data_files(table)), key=lambda file: (file.first_time, file.path))

    def ahead(self, files: Iterable[RawFile]) -> Iterator[RawFile]:
        """The same files in the same order, for whoever reads many: small ones are fetched before they are read."""
        return fetched_ahead(files, lambda file: fetch_file(self.settings, self.uri, file.path))

    def scan(self, start: Cut, end: Cut, table: DeltaTable | None = None) -> Iterator[pa.Table]:
        """The records with offsets in [start, end), in tables of bounded size, in no order. Raises as `read`."""
        table = table or self.table()
        for file in self.ahead(file for file in self.files(table) if file.may_hold(start, end)):
            yield from self.stream(file, _ROWS, _BYTES, start, end)

    def read(self, file: RawFile, columns: list[str] | None = None) -> pa.Table:
        """One data file, as RAW_SCHEMA (or some of its columns). Raises RawDamaged if it is gone or unreadable."""
        columns = columns or RAW_SCHEMA.names
        try:
            body = file.body and file.body.result()
            rows = read_file(self.settings, self.uri, file.path, columns, body)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._lost(file, error) from error
        return rows.cast(pa.schema([RAW_SCHEMA.field(c) for c in columns]))

    def await_positions(self, wanted: Cut, timeout_seconds: float) -> DeltaTable:
        """The first version from now on that holds every offset before `wanted`. Raises NotSealed after the timeout."""

        def landed() -> DeltaTable | None:
            table = open_table(self.settings, self.uri)
            return table if table and covers(self.positions(table), wanted) else None

        def too_late() -> NotSealed:
            table = open_table(self.settings, self.uri)
            held = self.positions(table) if table else {}
            behind = {p: offset - held.get(p, 0) for p, offset in wanted.items() if held.get(p, 0) < offset}
            return NotSealed(
                f"after {timeout_seconds:.0f} s raw/{self._domain.name} still lacks records, by partition: {behind}; "
                "is the lander running (`tidemark status`, `tidemark logs lander`)?"
            )

        return wait_until(landed, timeout_seconds, 0.2, too_late)

    def stream(
        self, file: RawFile, max_rows: int, max_bytes: int, start: Cut | None = None, end: Cut | None = None
    ) -> Iterator[pa.Table]:
        """One data file in tables of at most so many rows and, on average, so many bytes. Raises as `read`.

        With `end`, only its records with offsets in [start, end): row groups that hold none of them are not read.
        """

        def wanted(group: pq.RowGroupMetaData) -> bool:
            bounds = group_bounds(group) if end is not None else None
            return bounds is None or bounds.may_hold(start or {}, end or {})

        try:
            body = file.body and file.body.result()
            rows = stream_file(self.settings, self.uri, file.path, RAW_SCHEMA.names, max_rows, max_bytes, wanted, body)
            for table in (table.cast(RAW_SCHEMA) for table in rows):
                yield table if end is None else between(table, start or {}, end)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._lost(file, error) from error

    def cut(self, t: datetime, table: DeltaTable | None = None) -> Cut:
        """cut(t), from raw alone. Raises NotSealed unless raw holds, in every partition, a marker that seals t.

        A marker with t' >= t and append_time >= t' in each of the n partitions that its header counts proves that no
        record before t is missing: a partition made later begins after t.
        """
        if t <= EPOCH:
            return {}
        first: Cut = {}
        seals: dict[tuple[int, int], set[int]] = {}

        def needed(file: RawFile) -> bool:
            return epoch_ms(file.last_time) >= epoch_ms(t) and not (_sealed(seals) and file.is_after(first))

        for file in self.ahead(filter(needed, self.files(table or self.table()))):
            rows = self.read(file, ["partition", "offset", "append_time", "headers"])
            rows = rows.filter(pc.greater_equal(rows["append_time"], pa.scalar(t, rows["append_time"].type)))
            for found in rows.group_by("partition").aggregate([("offset", "min")]).to_pylist():
                partition, offset = found["partition"], found["offset_min"]
                first[partition] = min(offset, first.get(partition, offset))
            for marker in _markers(rows):
                if marker["t"] >= epoch_ms(t) and epoch_ms(marker["append_time"]) >= marker["t"]:
                    seals.setdefault((marker["t"], marker["partitions"]), set()).add(marker["partition"])
        if not _sealed(seals):
            raise NotSealed(
                f"raw/{self._domain.name} holds no complete seal of {format_time(t)}; "
                f"run `tidemark seal --domain {self._domain.name} --at {format_time(t)}` first"
            )
        return {p: offset for p, offset in first.items() if offset > 0}

    def _lost(self, file: RawFile, error: Exception) -> RawDamaged:
        newest = open_table(self.settings, self.uri)
        if newest is not None and all(f["path"] != file.path for f in data_files(newest)):
            return RawDamaged(
                f"raw/{self._domain.name}/{file.path} is in raw no more: while this version was read, its files "
                "were replaced, and removed (`jobs.expire`, `jobs.forget`); run this again"
            )
        return RawDamaged(
            f"raw/{self._domain.name}/{file.path} with {file.rows} records cannot be read ({error}); "
            "restore it from the bucket's versions or a backup, for every answer is derived from it"
        )


def positions_of(topic_id: str, positions: Cut, retries: int) -> CommitProperties:
    """What a commit says of a topic's partitions."""
    transactions = [Transaction(f"{topic_id}-{p}", version) for p, version in positions.items()]
    return CommitProperties(app_transactions=transactions, max_commit_retries=retries)


def between(rows: pa.Table, start: Cut, end: Cut) -> pa.Table:
    """The records with offsets in [start, end)."""
    return rows.filter(lies_between(rows, start, end))


def lies_between(rows: pa.Table, start: Cut, end: Cut) -> pa.Array:
    """For each record, whether its offset is in [start, end)."""
    partition, offset = rows["partition"], rows["offset"]
    keep = pa.array([False] * len(rows), pa.bool_())
    for p, stop in end.items():
        inside = pc.and_(pc.greater_equal(offset, start.get(p, 0)), pc.less(offset, stop))
        keep = pc.or_(keep, pc.and_(pc.equal(partition, p), inside))
    return keep


def _markers(rows: pa.Table) -> Iterator[dict]:
    for row in rows.filter(pc.greater(pc.list_value_length(rows["headers"]), 0)).to_pylist():
        for header in row["headers"]:
            if header["key"] == MARKER_HEADER and (told := _told(header["value"])):
                yield {**told, "partition": row["partition"], "append_time": row["append_time"]}


def _told(value: bytes | None) -> dict | None:
    """What a marker's header says, or None where somebody else has written it."""
    told = read_header(value, t=int, partitions=int)
    return told if told and told["partitions"] <= _MOST_PARTITIONS else None


def _sealed(seals: dict[tuple[int, int], set[int]]) -> bool:
    return any(set(range(partitions)) <= seen for (_, partitions), seen in seals.items())
