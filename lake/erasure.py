"""Erasing records in raw: the one change of raw that is allowed, by delta-rs, beside a lander that appends.

Invariant: an erased record keeps partition, offset and append_time, loses key, value and headers, and is a marker from
then on. So no cut, count or position changes; what its headers told all partitions, a seal or a version of a dimension,
stays told, and nothing new is. `delta.appendOnly` is lifted around the commits, and put back by the next run if a run
was killed there.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from lake.cuts import epoch_ms
from lake.errors import TidemarkError, TileRefused
from lake.headers import read_header
from lake.parse import MARKER_HEADER
from lake.raw import DATE, STORED_SCHEMA, Raw
from lake.timeline import ANNOUNCEMENT_HEADER

ERASED_HEADER = "tidemark-erased"
"""On an erased record: {"erasure": id, "reason": text, "at": ms}."""

_TRANSACTION = "tidemark-erasure"
_APPEND_ONLY = "delta.appendOnly"
_TRIES = 10
_ERASED = ("key", "value", "headers")


def erasures(table: DeltaTable) -> int:
    """How many commits have erased records in raw, up to this version."""
    return table.transaction_version(_TRANSACTION) or 0


def check_unchanged(now: DeltaTable, version: DeltaTable) -> None:
    """Raise TileRefused if records were erased since this version of raw was read; `now` is raw as it is now.

    Asked between taking a turn at a mart and committing, this keeps what was erased out of every tile: a build that
    read it is refused here, or has committed before the erasure rebuilds the tile, or loses its turn to that.
    """
    if now.version() != version.version() and erasures(now) != erasures(version):
        raise TileRefused(
            f"records were erased from {version.table_uri} since this build read them; nothing was committed; "
            "run it again"
        )


class NotErased(TidemarkError):
    """A subject was not erased, or not wholly; the message says what is left and what to do."""


def erase(raw: Raw, records: pa.Table, erasure: str, reason: str, at: datetime) -> None:
    """Erase the records (partition, offset, append_time, headers), a day in a commit.

    Killed in the middle, some days are done, and the others can be found as before.
    """
    told = json.dumps({"erasure": erasure, "reason": reason, "at": epoch_ms(at)}).encode()
    days = records["append_time"].cast(pa.date32())
    restore(raw)
    try:
        for day in pc.unique(days).sort().to_pylist():
            _erase_day(raw, records.filter(pc.equal(days, day)), day, told)
    finally:
        restore(raw)


def restore(raw: Raw) -> None:
    """Make raw append-only again, if a run that was killed has left it otherwise."""
    if raw.table().metadata().configuration.get(_APPEND_ONLY) != "true":
        _set_append_only(raw, True)


def erased_by(rows: pa.Table, erasure: str) -> pa.Array:
    """Which of the rows, which have `headers`, this erasure has erased."""
    headers = rows["headers"].combine_chunks()
    entries, holders = pc.list_flatten(headers), pc.list_parent_indices(headers).cast(pa.int64())
    ours = pc.fill_null(pc.equal(entries.field("key"), ERASED_HEADER), False)
    told = entries.field("value").filter(ours)
    wanted = [value for value in told.unique() if _erasure(value.as_py()) == erasure]
    own = pc.is_in(told, value_set=pa.array([value.as_py() for value in wanted], pa.binary()))
    return pc.is_in(pa.array(range(len(rows)), pa.int64()), value_set=holders.filter(ours).filter(own))


def _erasure(told: bytes | None) -> str | None:
    read = read_header(told, erasure=str)
    return read["erasure"] if read else None


def _erase_day(raw: Raw, records: pa.Table, day: date, told: bytes) -> None:
    emptied = pa.Table.from_pylist(
        [
            {**record, DATE: day, "key": None, "value": None, "headers": _headers(record["headers"], told)}
            for record in records.select(["partition", "offset", "headers"]).to_pylist()
        ],
        schema=pa.schema([STORED_SCHEMA.field(name) for name in (DATE, "partition", "offset", *_ERASED)]),
    )
    match = f"t.{DATE} = s.{DATE} AND t.partition = s.partition AND t.offset = s.offset AND {_bounds(records, day)}"
    for attempt in range(1, _TRIES + 1):
        _set_append_only(raw, False)
        table = raw.table()
        properties = CommitProperties(
            app_transactions=[Transaction(_TRANSACTION, erasures(table) + 1)], max_commit_retries=15
        )
        merger = table.merge(emptied, match, source_alias="s", target_alias="t", commit_properties=properties)
        try:
            merger.when_matched_update({name: f"s.{name}" for name in _ERASED}).execute()
            return
        except CommitFailedError:  # a compaction has taken the files away, or the reply was lost
            if attempt == _TRIES:
                raise


def _bounds(records: pa.Table, day: date) -> str:
    """What is true of all of them in constants, by which Delta knows that what is landed meanwhile is not concerned."""
    last = pc.max(records["append_time"]).as_py() + timedelta(microseconds=1)
    bounds = [
        f"t.{DATE} = '{day}'",
        f"t.append_time < arrow_cast('{last:%Y-%m-%dT%H:%M:%S.%fZ}', 'Timestamp(us, \"UTC\")')",
    ]
    ranges = records.group_by("partition").aggregate([("offset", "min"), ("offset", "max")]).to_pylist()
    partitions = [
        f"(t.partition = {r['partition']} AND t.offset >= {r['offset_min']} AND t.offset <= {r['offset_max']})"
        for r in ranges
    ]
    return " AND ".join([*bounds, f"({' OR '.join(partitions)})"])


def _headers(before: list[dict] | None, told: bytes) -> list[dict]:
    """An erased record's headers; of those before, what raw reads in them stays, as far as it is read."""
    kept = [{"key": MARKER_HEADER, "value": b"{}"}]
    for header in before or ():
        wanted = _READ.get(header["key"])
        if wanted and (read := read_header(header["value"], **wanted)):
            kept.append({"key": header["key"], "value": json.dumps(read).encode()})
    return [*kept, {"key": ERASED_HEADER, "value": told}]


_READ: dict[str, dict[str, type]] = {
    MARKER_HEADER: {"t": int, "partitions": int},
    ANNOUNCEMENT_HEADER: {"dimension": str, "version": int},
}


def _set_append_only(raw: Raw, wanted: bool) -> None:
    text = str(wanted).lower()
    for attempt in range(1, _TRIES + 1):
        table = raw.table()
        if table.metadata().configuration.get(_APPEND_ONLY) == text:
            return
        try:
            table.alter.set_table_properties({_APPEND_ONLY: text})
            return
        except CommitFailedError:  # the lander came first
            if attempt == _TRIES:
                raise
