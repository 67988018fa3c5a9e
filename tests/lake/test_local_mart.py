"""Copies of a mart: whatever files hold it, they are its tiles, each once, and nothing else is kept."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake import state_files
from lake.cuts import EPOCH
from lake.domain import load_domain
from lake.errors import MissingCoverage
from lake.kernel import Kernel
from lake.local_mart import FILES, LocalMart
from lake.marts import Manifest, MartSnapshot
from lake.settings import Settings
from lake.waiting import wait_until
from tests.lake.test_marts import tile

VIEW = "funnel_by_hour"


class Lake:
    """A mart's tiles as they would be in the lake, and how often each was read."""

    def __init__(self, kernel: Kernel, seed: int) -> None:
        self.kernel, self._source = kernel, random.Random(seed)
        self.contents: list[tuple[str, pa.Table]] = []
        self.reads: list[str] = []

    def build(self, number: int | None = None) -> None:
        """A tile at the end, or another one in the place of one."""
        name = f"{self._source.getrandbits(64):x}.parquet"
        hours = self._source.sample(range(20), 8)
        rows = [
            {"hour": EPOCH + timedelta(hours=hour)} | {c: self._source.randrange(9) for c in self._counts}
            for hour in sorted(hours)
        ]
        made = name, pa.Table.from_pylist(rows, schema=self.kernel.schema(VIEW))
        if number is None:
            self.contents.append(made)
        else:
            self.contents[number] = made

    @property
    def _counts(self) -> list[str]:
        return [name for name in self.kernel.schema(VIEW).names if name != "hour"]

    def snapshot(self) -> MartSnapshot:
        tiles = [tile(0, 1) for _ in self.contents]
        return MartSnapshot(
            hash(tuple(n for n, _ in self.contents)), tiles, [(n,) for n, _ in self.contents], self._read
        )

    def _read(self, manifest: Manifest, files: tuple[str, ...]) -> pa.Table:
        self.reads += files
        return dict(self.contents)[files[0]]

    @property
    def merged(self) -> pa.Table:
        return self.kernel.merge(VIEW, [states for _, states in self.contents])


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel(load_domain("shop", Settings().domains_dir))


def settled(local: LocalMart, lake: Lake) -> list[Path]:
    """The files once no larger ones are to be made."""

    def few() -> list[Path] | None:
        files = local.files(lake.snapshot())
        return files if len(files) <= max(FILES, len(lake.contents).bit_count()) else None

    return wait_until(few, 30, 0.01, lambda: AssertionError("the files were never merged"))


def held(lake: Lake, files: list[Path]) -> pa.Table:
    return lake.kernel.merge(VIEW, [state_files.read(file) for file in files])


def test_any_number_of_tiles_is_held_by_few_files_and_each_was_read_once(kernel: Kernel, tmp_path: Path) -> None:
    lake, local = Lake(kernel, 7), LocalMart(tmp_path, kernel, VIEW)
    assert local.files(lake.snapshot()) == []
    for _ in range(21):
        lake.build()
        assert held(lake, local.files(lake.snapshot())).equals(lake.merged)
    files = settled(local, lake)
    assert len(files) == 3, "21 is 16 and 4 and 1"
    assert held(lake, files).equals(lake.merged)
    assert sorted(lake.reads) == sorted(name for name, _ in lake.contents)


def test_a_tile_that_was_built_anew_leaves_no_trace_of_the_old_one(kernel: Kernel, tmp_path: Path) -> None:
    lake, local = Lake(kernel, 8), LocalMart(tmp_path, kernel, VIEW)
    for _ in range(16):
        lake.build()
    before = {file for _ in [settled(local, lake)] for file in tmp_path.rglob(f"*{state_files.SUFFIX}")}
    gone = lake.contents[5][1]
    lake.build(5)
    files = settled(local, lake)
    assert held(lake, files).equals(lake.merged)
    left = set(tmp_path.rglob(f"*{state_files.SUFFIX}")) & before
    assert left and not any(state_files.read(file).equals(gone) for file in left)
    untouched = [kernel.merge(VIEW, [s for _, s in lake.contents[start:end]]) for start, end in ((0, 4), (8, 16))]
    assert all(any(state_files.read(file).cast(t.schema).equals(t) for file in left) for t in untouched)


def test_a_copy_that_was_lost_is_made_again(kernel: Kernel, tmp_path: Path) -> None:
    lake, local = Lake(kernel, 9), LocalMart(tmp_path, kernel, VIEW)
    for _ in range(3):
        lake.build()
    local.files(lake.snapshot())[0].unlink()
    assert held(lake, local.files(lake.snapshot())).equals(lake.merged)
    another = LocalMart(tmp_path, kernel, VIEW)
    reads = len(lake.reads)
    assert held(lake, another.files(lake.snapshot())).equals(lake.merged)
    assert len(lake.reads) == reads, "another process shares the copies"


def test_a_copy_that_another_process_removes_before_it_is_opened_is_told_as_missing_and_made_again(
    kernel: Kernel, tmp_path: Path
) -> None:
    lake, local = Lake(kernel, 10), LocalMart(tmp_path, kernel, VIEW)
    for _ in range(3):
        lake.build()
    [gone, *_] = local.files(lake.snapshot())
    gone.unlink()
    with pytest.raises(MissingCoverage, match=f"{gone.name}.*ask again"):
        state_files.read(gone)
    assert held(lake, local.files(lake.snapshot())).equals(lake.merged)


def test_a_larger_file_whose_parts_vanish_as_it_is_made_is_made_with_the_next_tile(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, local, gone = Lake(kernel, 11), LocalMart(tmp_path, kernel, VIEW), []
    opened = state_files.open_in

    def open_after_removal(db: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
        if not gone:
            gone.append(files[0])
            files[0].unlink()
        opened(db, files)

    for _ in range(FILES * 2):
        lake.build()
    monkeypatch.setattr(state_files, "open_in", open_after_removal)
    local.files(lake.snapshot())
    wait_until(lambda: local._improving is None, 30, 0.01, lambda: AssertionError("the thread never ended"))
    lake.build()
    files = settled(local, lake)
    assert gone and held(lake, files).equals(lake.merged)
