"""Raw's Delta log stays short however many commits there are, and forgets nothing that counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from lake.history import in_log, objects_below
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA

COMMITS, INTERVAL = 25, 4


def _commit(raw: Raw, table, number: int) -> None:
    """A record in each of two partitions, the second of which has none before it."""
    rows = [
        {"partition": p, "offset": number, "append_time": datetime(2026, 11, 21, tzinfo=UTC), "headers": []}
        for p in (0, 2)
    ]
    raw.append(table, pa.Table.from_pylist(rows, schema=RAW_SCHEMA), {0: number + 1, 2: number + 1})


@pytest.fixture
def raw(make_sandbox) -> Raw:
    """Whose log keeps nothing longer than it must."""
    sandbox = make_sandbox()
    raw = Raw(sandbox.settings, sandbox.domain)
    kept = {"delta.checkpointInterval": str(INTERVAL), "delta.logRetentionDuration": "interval 0 seconds"}
    raw.create("topic-1").alter.set_table_properties(kept)
    return raw


def test_old_entries_go_and_positions_stay(raw: Raw) -> None:
    table = raw.table()
    for number in range(COMMITS):
        _commit(raw, table, number)
    entries = [info.base_name for info in objects_below(raw.settings, raw.uri) if in_log(info)]
    assert len([name for name in entries if name.endswith(".json")]) <= 2 * INTERVAL, entries
    assert raw.positions(raw.table()) == {0: COMMITS, 2: COMMITS}
    assert sum(file.rows for file in raw.files(raw.table())) == 2 * COMMITS


def test_a_lander_that_slept_while_its_version_was_forgotten_is_refused(raw: Raw) -> None:
    asleep, table = raw.table(), raw.table()
    for number in range(COMMITS):
        _commit(raw, table, number)
    with pytest.raises(DeltaError):
        _commit(raw, asleep, 0)
    assert raw.positions(raw.table()) == {0: COMMITS, 2: COMMITS}
    assert sum(file.rows for file in raw.files(raw.table())) == 2 * COMMITS
