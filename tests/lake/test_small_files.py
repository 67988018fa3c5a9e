"""Files fetched ahead are the same files, in order, with the same errors; what is held of them is bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import small_files
from lake.errors import RawDamaged
from lake.raw import Raw
from lake.raw_file import RawFile
from lake.small_files import FILES, SMALL_BYTES, fetched_ahead, joined
from lake.tables import filesystem
from tests.conftest import Sandbox
from tests.jobs.landed import Landed

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)


def files(sizes: list[int]) -> Iterator[RawFile]:
    for number, size in enumerate(sizes):
        bounds = {"partition": 0, "offset": number, "append_time": NINE}
        told = {f"{end}.{name}": value for end in ("min", "max") for name, value in bounds.items()}
        yield RawFile(
            {"path": str(number), "partition.append_date": NINE.date(), "num_records": 1, "size_bytes": size, **told}
        )


def body(file: RawFile) -> pa.Buffer:
    return pa.py_buffer(file.path.encode())


@given(st.lists(st.sampled_from([1, SMALL_BYTES - 1, SMALL_BYTES, 1 << 40]), max_size=3 * FILES))
def test_files_come_in_their_order_and_only_small_ones_are_fetched(sizes: list[int]) -> None:
    came = list(fetched_ahead(files(sizes), body))
    assert [file.path for file in came] == [str(number) for number in range(len(sizes))]
    for file in came:
        assert (file.body is not None) == (file.bytes < SMALL_BYTES)
        assert file.body is None or file.body.result().to_pybytes() == file.path.encode()


def test_as_many_are_fetched_at_once_as_are_held() -> None:
    together = threading.Barrier(FILES)

    def fetch(file: RawFile) -> pa.Buffer:
        together.wait(30)  # raises unless so many have come
        return body(file)

    assert all(file.body and file.body.result() for file in fetched_ahead(files([1] * FILES * 2), fetch))


def test_no_more_than_so_many_files_are_ahead_of_their_reader_however_slow_it_is() -> None:
    begun: list[str] = []

    def fetch(file: RawFile) -> pa.Buffer:
        begun.append(file.path)
        return body(file)

    ahead = fetched_ahead(files([1] * FILES * 4), fetch)
    for number, file in enumerate(ahead):
        assert file.body is not None
        file.body.result()
        assert len(begun) <= number + FILES
    assert len(begun) == FILES * 4


def test_a_reader_that_stops_early_leaves_no_thread_and_nothing_more_is_fetched() -> None:
    threads = threading.active_count()
    begun: list[str] = []

    def fetch(file: RawFile) -> pa.Buffer:
        begun.append(file.path)
        return body(file)

    ahead = fetched_ahead(files([1] * FILES * 4), fetch)
    next(ahead)
    assert threading.active_count() > threads
    ahead.close()
    assert threading.active_count() == threads
    assert len(begun) <= FILES


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 50), st.integers(1, 1000))
def test_joined_tables_hold_the_same_rows_and_all_but_the_last_are_large(
    lengths: list[int], most_rows: int, most_bytes: int
) -> None:
    numbers = iter(range(sum(lengths)))
    tables = [pa.table({"n": pa.array([next(numbers) for _ in range(length)], pa.int64())}) for length in lengths]
    found = list(joined(tables, most_rows, most_bytes))
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(sum(lengths)))
    assert all(len(table) >= most_rows or table.nbytes >= most_bytes for table in found[:-1])
    assert all(len(table) < most_rows + 30 for table in found)


@pytest.fixture
def raw(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Raw:
    """Two dozen files, half of which count as large."""
    landed = Landed(sandbox.settings, sandbox.domain)
    for number in range(24):
        landed.events(NINE + timedelta(minutes=number), 60, 5 + number % 2 * 60)
    monkeypatch.setattr(small_files, "SMALL_BYTES", sorted(f.bytes for f in landed.raw.files(landed.raw.table()))[12])
    return landed.raw


def test_a_scan_gives_the_files_rows_in_the_files_order(raw: Raw) -> None:
    table = raw.table()
    held = raw.files(table)
    assert 0 < sum(file.body is not None for file in raw.ahead(held)) < len(held)
    found = pa.concat_tables(raw.scan({}, raw.positions(table), table))
    assert found.equals(pa.concat_tables(raw.read(file) for file in held))


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_small_file_that_cannot_be_read_is_told_where_it_stands_in_the_words_of_any_other(
    raw: Raw, damage: str
) -> None:
    held = raw.files(raw.table())
    small = [number for number, file in enumerate(raw.ahead(held)) if file.body]
    lost = small[len(small) // 2]
    address = f"{raw.uri}/{held[lost].path}".removeprefix("s3://")
    lake = filesystem(raw.settings)
    if damage == "gone":
        lake.delete_file(address)
    else:
        with lake.open_output_stream(address) as stream:
            stream.write(b"PAR1")
    with pytest.raises(RawDamaged) as plain:
        raw.read(held[lost])
    for read in (raw.read, lambda file: list(raw.stream(file, 1000, 1 << 20))):
        reached = []
        with pytest.raises(RawDamaged) as ahead:
            for file in raw.ahead(held):
                read(file)
                reached.append(file.path)
        assert str(ahead.value) == str(plain.value)
        assert reached == [file.path for file in held[:lost]]
