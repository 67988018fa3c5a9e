"""Records are erased in raw beside a lander that goes on, and neither cuts nor positions nor seals change."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from lake.cuts import epoch_ms
from lake.erasure import erase, erased_by, erasures
from lake.parse import MARKER_HEADER
from lake.raw_schema import RAW_SCHEMA
from lake.timeline import ANNOUNCEMENT_HEADER, announcements
from tests.jobs.accounts import FILE, SUBJECT, Accounts
from tests.jobs.conftest import NINE

TEN = NINE + timedelta(hours=1)


@pytest.fixture
def accounts(make_sandbox) -> Accounts:
    sandbox = make_sandbox(FILE)
    accounts = Accounts(sandbox.settings, sandbox.domain)
    accounts.book(NINE - timedelta(hours=10), 40, ["ann", SUBJECT])
    accounts.book(NINE, 40, ["ann", SUBJECT])
    accounts.seal(TEN)
    return accounts


def subjects(accounts: Accounts) -> pa.Table:
    own = {(sent.partition, sent.offset) for sent in accounts.ledger if sent.user == SUBJECT}
    rows = [record for place, record in accounts.records().items() if place in own]
    return pa.Table.from_pylist(rows, RAW_SCHEMA).select(["partition", "offset", "append_time", "headers"])


def test_a_lander_goes_on_while_records_are_erased(accounts: Accounts) -> None:
    before, cut, own = accounts.records(), accounts.raw.cut(TEN), subjects(accounts)
    stop, failures = threading.Event(), []

    def land() -> None:
        while not stop.is_set():
            try:
                accounts.book(TEN + timedelta(seconds=len(accounts.ledger)), 5, ["bob"])
            except Exception as error:
                failures.append(error)  # as the lander does: look again, go on from what raw holds
                accounts.heads = dict(accounts.raw.positions(accounts.raw.table()))

    lander = threading.Thread(target=land)
    lander.start()
    try:
        erase(accounts.raw, own, "e1", "asked for", NINE)
    finally:
        stop.set()
        lander.join()
    table, after = accounts.raw.table(), accounts.records()
    assert accounts.raw.positions(table) == accounts.heads and erasures(table) == 2  # a commit for each day
    assert len(after) == sum(accounts.heads.values()) > len(before)
    assert accounts.raw.cut(TEN) == cut
    assert table.metadata().configuration["delta.appendOnly"] == "true"
    emptied = {place for place, record in after.items() if record["key"] is None}
    assert emptied == {(row["partition"], row["offset"]) for row in own.to_pylist()}
    assert all(after[place] == record for place, record in before.items() if place not in emptied)
    rows = pa.Table.from_pylist(list(after.values()), RAW_SCHEMA)
    assert sum(erased_by(rows, "e1").to_pylist()) == len(emptied) and not any(erased_by(rows, "e2").to_pylist())


def test_what_a_records_headers_told_the_layers_stays_told_and_nothing_else_of_them(accounts: Accounts) -> None:
    """Anybody can send an event that has the headers of a seal, or of a dimension's version; raw reads them."""
    eleven = TEN + timedelta(hours=1)
    seal = json.dumps({"t": epoch_ms(eleven), "partitions": 1, "by": SUBJECT}).encode()
    version = json.dumps({"dimension": "users", "version": 3, "by": SUBJECT}).encode()
    told = [(MARKER_HEADER, seal), (ANNOUNCEMENT_HEADER, version), ("by", SUBJECT.encode()), (MARKER_HEADER, b"[")]
    headers = [{"key": key, "value": value} for key, value in told]
    offset = accounts.heads[0]
    record = {"partition": 0, "offset": offset, "append_time": eleven, "key": b"k", "value": b"{}", "headers": headers}
    rows = pa.Table.from_pylist([record], RAW_SCHEMA)
    accounts.heads[0] += 1
    accounts.raw.append(accounts.raw.table(), rows, dict(accounts.heads))
    cut = accounts.raw.cut(eleven)
    erase(accounts.raw, rows.select(["partition", "offset", "append_time", "headers"]), "e1", "asked for", NINE)
    assert accounts.raw.cut(eleven) == cut == {0: offset}
    erased = accounts.records()[0, offset]
    assert SUBJECT not in repr(erased) and erased["value"] is None
    [announced] = announcements(pa.Table.from_pylist([erased], RAW_SCHEMA))
    assert (announced.dimension, announced.version) == ("users", 3)


def test_raw_is_append_only_before_and_after(accounts: Accounts) -> None:
    with pytest.raises(DeltaError, match="append"):
        accounts.raw.table().delete("partition = 0")
    erase(accounts.raw, subjects(accounts), "e1", "asked for", NINE)
    with pytest.raises(DeltaError, match="append"):
        accounts.raw.table().delete("partition = 0")
