"""Local copies of a mart's states, for whoever asks again and again for a few of its rows.

A file holds the merged states of 2^k consecutive tiles, sorted by key, and is named after the data files it was made
from. So it never changes, whatever happens to the mart, and processes may share it. n tiles are held by one file for
each bit of n: a query reads few files, and a tile is merged log2(n) times in all.
Invariant: the files given for a snapshot together hold each of its tiles once. What the newest snapshot needs no more
is removed from this disk, and other definitions after a day: a subject that was erased from the lake stays in no copy.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import structlog

from lake import state_files
from lake.errors import MissingCoverage
from lake.kernel import Kernel
from lake.marts import MartSnapshot
from lake.measures import MACROS

log = structlog.get_logger()

FILES = 4
"""Where there are more, larger ones are made in the background."""
IDLE_SECONDS = 24 * 3600
MERGE_MEMORY = "1GB"


class LocalMart:
    """One view's, as it is defined, in a folder below `folder`; safe to share between threads."""

    def __init__(self, folder: Path, kernel: Kernel, view: str) -> None:
        self._folder = folder / kernel.definition_hash(view)
        self._merge = kernel.sql(view)["merge"]
        self._version: int | None = None
        self._files: list[Path] = []
        self._improving: threading.Thread | None = None
        self._lock = threading.Lock()

    def files(self, snapshot: MartSnapshot) -> list[Path]:
        """Files (`state_files`) that hold this version's states; none if it has none. Raises MartDamaged, OSError.

        They may be other ones when the same version is asked for again, with the same contents. Another process may
        remove one before it is opened (`state_files.open_in`): ask again then.
        """
        with self._lock:
            if self._version != snapshot.version or not all(file.exists() for file in self._files):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._remove_other_definitions()
                self._files = [file for run in _runs(snapshot) for file in self._best(snapshot, run)]
                self._version = snapshot.version
                self._remove_others(snapshot)
                if len(self._files) > FILES and self._improving is None:
                    self._improving = threading.Thread(target=self._improve, args=[snapshot], daemon=True)
                    self._improving.start()
            return list(self._files)

    def _best(self, snapshot: MartSnapshot, run: range) -> Iterator[Path]:
        """The run's file, or else those of its halves; a single tile is fetched."""
        file = self._file(snapshot, run)
        if file.exists():
            yield file
        elif len(run) == 1:
            self._fetch(snapshot, run[0], file)
            yield file
        else:
            for half in _halves(run):
                yield from self._best(snapshot, half)

    def _fetch(self, snapshot: MartSnapshot, number: int, file: Path) -> None:
        with duckdb.connect(config={"threads": 1, "memory_limit": MERGE_MEMORY}) as db:
            db.execute("SET TimeZone = 'UTC'")
            db.register("fetched", snapshot.read(snapshot.tiles[number], snapshot.files[number]))
            _into(file, lambda new: state_files.write(db, new, "SELECT * FROM fetched"))

    def _improve(self, snapshot: MartSnapshot) -> None:
        """Make the files of all runs, then let them be found."""
        try:
            with _stoppable(duckdb.connect(config={"threads": 1, "memory_limit": MERGE_MEMORY})) as db:
                db.execute(f"SET temp_directory = '{self._folder}/spilled.{os.getpid()}'")
                db.execute("SET TimeZone = 'UTC'")
                db.execute(MACROS)
                for run in _runs(snapshot):
                    self._merged(db, snapshot, run)
            with self._lock:
                self._version = None
        except duckdb.InterruptException:
            return  # the process ends
        except (duckdb.Error, OSError, MissingCoverage) as error:
            log.warning("copies of a mart stay in many files", folder=str(self._folder), error=str(error))
        with self._lock:
            self._improving = None

    def _merged(self, db: duckdb.DuckDBPyConnection, snapshot: MartSnapshot, run: range) -> Path:
        file = self._file(snapshot, run)
        if len(run) > 1 and not file.exists():
            halves = [self._merged(db, snapshot, half) for half in _halves(run)]
            state_files.open_in(db, halves)
            merged = f'WITH ":states" AS ({state_files.select(halves)}) SELECT * FROM ({self._merge})'
            _into(file, lambda new: state_files.write(db, new, merged))
            state_files.close(db, halves)
        return file

    def _file(self, snapshot: MartSnapshot, run: range) -> Path:
        names = "\n".join(name for number in run for name in snapshot.files[number])
        return self._folder / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}{state_files.SUFFIX}"

    def _remove_other_definitions(self) -> None:
        """Those that nobody has asked for in a day."""
        os.utime(self._folder)
        for folder in self._folder.parent.iterdir():
            if folder.stat().st_mtime < time.time() - IDLE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_others(self, snapshot: MartSnapshot) -> None:
        """Those that were made from other data files than this version's."""
        wanted = {self._file(snapshot, part) for run in _runs(snapshot) for part in _parts(run)}
        for file in set(self._folder.glob(f"*{state_files.SUFFIX}")) - wanted:
            file.unlink(missing_ok=True)


@contextmanager
def _stoppable(db: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """Does not let the end of the process wait for it."""

    def stop() -> None:
        db.interrupt()

    atexit.register(stop)
    try:
        yield db
    finally:
        atexit.unregister(stop)
        db.close()


def _into(file: Path, write: Callable[[Path], object]) -> None:
    """The file appears whole or not at all, whoever else makes it meanwhile."""
    new = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}.new")
    try:
        write(new)
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def _runs(snapshot: MartSnapshot) -> list[range]:
    """One for each bit of the number of tiles, the longest first."""
    runs, start = [], 0
    for bit in reversed(range(len(snapshot.tiles).bit_length())):
        if len(snapshot.tiles) >> bit & 1:
            runs.append(range(start, start + (1 << bit)))
            start += 1 << bit
    return runs


def _halves(run: range) -> tuple[range, range]:
    middle = len(run) // 2
    return run[:middle], run[middle:]


def _parts(run: range) -> Iterator[range]:
    yield run
    if len(run) > 1:
        for half in _halves(run):
            yield from _parts(half)
