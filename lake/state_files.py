"""Files of states on this disk: DuckDB databases of one table, which a query of a few rows reads a few blocks of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.errors import MissingCoverage

SUFFIX = ".duckdb"
_ROWS = 20_480
"""In a group, the least that is read of a file. With fewer a row is found no faster, and all rows are read slower."""


def write(db: duckdb.DuckDBPyConnection, file: Path, sql: str) -> None:
    """Make the file, of the rows of a SELECT."""
    db.execute(f"ATTACH '{file}' AS making (ROW_GROUP_SIZE {_ROWS})")
    try:
        db.execute(f"CREATE TABLE making.states AS {sql}")
    finally:
        db.execute("DETACH making")


def open_in(db: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> None:
    """Open these files in `db` under their own names; from then on it does not matter whether they are removed.

    Raises MissingCoverage if one is gone, or cannot be opened: whoever asks for the files again gets others.
    """
    for file in files:
        try:
            db.execute(f"ATTACH IF NOT EXISTS '{file}' AS {_name(file)} (READ_ONLY)")
        except duckdb.IOException as error:
            raise MissingCoverage(
                f"a mart's copy {file} cannot be opened ({error}); another process that shares {file.parent} may have "
                "removed it: ask again, and if that does not help, remove the folder, which is filled anew"
            ) from error


def select(files: Iterable[Path], columns: str = "*") -> str:
    """SQL: the rows of these files, at least one, where they are open."""
    return " UNION ALL ".join(f"SELECT {columns} FROM {_name(file)}.states" for file in files)


def close(db: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> None:
    """What still reads them in a transaction goes on to see them."""
    for file in files:
        db.execute(f"DETACH DATABASE IF EXISTS {_name(file)}")


def read(file: Path) -> pa.Table:
    """All rows. Raises as `open_in`."""
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET TimeZone = 'UTC'")
        open_in(db, [file])
        return db.sql(select([file])).to_arrow_table()


def _name(file: Path) -> str:
    return f'"copy {file.stem}"'
