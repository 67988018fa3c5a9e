"""Fillers are records as Kafka writes them, markers to whoever reads one, and told from all else by their bytes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from lake.fillers import FILLER_HEADER, MOST, batches, filler_batch
from lake.kernel import COUNTS, Kernel
from lake.parse import MARKER_HEADER
from lake.raw_schema import RAW_SCHEMA

counts = st.integers(1, 300)


def others(count: int, packing: int = 4, key: bytes | None = None, value: bytes | None = None, headers=()) -> bytes:
    """A batch of records that another producer wrote."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=packing, batch_size=1 << 20)
    for _ in range(count):
        builder.append(timestamp=7, key=key, value=value, headers=list(headers))
    builder.close()
    return bytes(builder.buffer())


@settings(deadline=None)
@given(counts)
def test_a_batch_is_so_many_records_without_key_and_value_for_another_client_too(count: int) -> None:
    [batch] = MemoryRecords(filler_batch(count, 1_795_000_000_000))
    assert batch.validate_crc()
    records = list(batch)
    assert [record.offset for record in records] == list(range(count))
    for record in records:
        assert (record.key, record.value, record.timestamp) == (None, None, 1_795_000_000_000)
        assert [name for name, _ in record.headers] == [MARKER_HEADER, FILLER_HEADER]


@settings(deadline=None)
@given(st.lists(st.tuples(counts, st.booleans()), max_size=6), st.integers(0, 60))
def test_batches_are_read_as_they_follow_each_other_and_one_that_is_cut_off_is_left_out(parts, cut_off) -> None:
    written = [filler_batch(n, 5) if ours else others(n) for n, ours in parts]
    last = filler_batch(3, 5)[:cut_off]
    found = list(batches(b"".join(written) + last))
    assert [(batch.end - batch.first, batch.is_filler) for batch in found] == parts
    assert not any(batch.is_append_time for batch in found)


@pytest.mark.parametrize("packing", [0, 1, 4])
@pytest.mark.parametrize(
    "other",
    [
        {"key": b"k"},
        {"value": b"{}"},
        {},
        {"headers": [(MARKER_HEADER, b"")]},
        {"headers": [(MARKER_HEADER, b""), (FILLER_HEADER, b"1")]},
    ],
)
def test_what_differs_in_anything_is_no_filler(packing: int, other: dict) -> None:
    [batch] = batches(others(5, packing, **other))
    assert not batch.is_filler


def test_the_largest_batch_is_far_smaller_than_what_a_broker_takes() -> None:
    whole = filler_batch(MOST, 5)
    [batch] = batches(whole)
    assert batch.is_filler and batch.end == MOST
    assert len(whole) < 1 << 20


def test_a_filler_that_is_read_is_a_marker(sandbox) -> None:
    headers = [{"key": MARKER_HEADER, "value": b""}, {"key": FILLER_HEADER, "value": b""}]
    row = {"partition": 0, "offset": 0, "append_time": 0, "key": None, "value": None, "headers": headers}
    [counted] = Kernel(sandbox.domain).run(pa.Table.from_pylist([row], RAW_SCHEMA))[COUNTS].to_pylist()
    assert (counted["events"], counted["markers"], counted["good"]) == (1, 1, 0)
