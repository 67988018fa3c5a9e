"""The kernel's tables of the dimensions, which views join: on the version that holds for the record, and on its key.

Invariant: a version's rows are loaded when the first record needs them, and never change.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.dimensions import KEY, VERSION, typed
from lake.domain import Domain
from lake.errors import BadDimension

_HELD_VERSIONS = 4

ReadDimension = Callable[[str, int], pa.Table]
"""(name, version) -> `key` and the other columns of that version, as text."""


def version_of(dimension: str) -> str:
    """The column of a record that says which version of a dimension holds for it; 0 where none does yet."""
    return f"version:{dimension}"


def key_of(dimension: str) -> str:
    """The column of a record that a dimension is joined on, as text."""
    return f"on:{dimension}"


def join_sql(domain: Domain, dimension: str) -> str:
    """LEFT JOIN of the table `parsed` with a dimension; its columns are one struct of the dimension's name."""
    table, key = f'"{_table(dimension)}"', key_sql(domain, dimension)
    return f' LEFT JOIN {table} ON {table}.":version" = parsed."{version_of(dimension)}" AND {table}.":key" = {key}'


def key_sql(domain: Domain, dimension: str) -> str:
    """What a record is joined on, as text."""
    return f"TRY(CAST(({domain.dimensions[dimension].on}) AS VARCHAR))"


def row_sql(domain: Domain, dimension: str) -> str:
    """A dimension's texts as the struct that views see, typed as declared."""
    columns = domain.dimensions[dimension].columns
    return "{" + ", ".join(f"'{c}': {typed(kind, c)}" for c, kind in columns.items()) + "}"


class Joins:
    """The dimensions of one domain on one connection. `read` may be None where no record has a version."""

    def __init__(self, db: duckdb.DuckDBPyConnection, domain: Domain, read: ReadDimension | None) -> None:
        self._db, self._domain, self._read = db, domain, read
        self._loaded: dict[str, list[int]] = {name: [] for name in domain.dimensions}
        self._given: set[str] = set()
        for name, dimension in domain.dimensions.items():
            texts = pa.schema([(column, pa.string()) for column in [KEY, *dimension.columns]])
            self._db.register("loading", texts.empty_table())
            row = f'0::BIGINT AS ":version", key AS ":key", {row_sql(domain, name)} AS "{name}"'
            self._db.execute(f'CREATE TEMP TABLE "{_table(name)}" AS SELECT {row} FROM loading')

    def with_versions(self, batch: pa.Table) -> pa.Table:
        """The records with a version for each dimension; 0 where they have none yet."""
        for name in self._domain.dimensions:
            if version_of(name) not in batch.column_names:
                batch = batch.append_column(version_of(name), pa.array(np.zeros(len(batch), np.int64)))
        return batch

    def load(self, batch: pa.Table) -> None:
        """Make the versions that a batch needs known; of those that it does not need, the newest few stay."""
        for name in self._domain.dimensions.keys() - self._given:
            held, needed = self._loaded[name], pc.unique(batch[version_of(name)]).to_pylist()
            for version in needed:
                if version and version not in held:
                    self._insert(name, str(version), self._rows(name, version))
                    held.append(version)
            while len(held) > _HELD_VERSIONS and held[0] not in needed:
                self._db.execute(f'DELETE FROM "{_table(name)}" WHERE ":version" = {held.pop(0)}')

    def give(self, name: str, rows: pa.Table) -> None:
        """Make these rows (version, key, columns as text) all that is known, until others are given."""
        self._given.add(name)
        self._db.execute(f'DELETE FROM "{_table(name)}"')
        self._insert(name, VERSION, rows)

    def _rows(self, name: str, version: int) -> pa.Table:
        if self._read is None:
            raise BadDimension(f"version {version} of '{name}' is needed, but this kernel was given no dimensions")
        return self._read(name, version)

    def _insert(self, name: str, version: str, rows: pa.Table) -> None:
        for column in self._domain.dimensions[name].columns:
            if column not in rows.column_names:  # loaded before the domain declared it
                rows = rows.append_column(column, pa.nulls(len(rows), pa.string()))
        self._db.register("loading", rows)
        row = row_sql(self._domain, name)
        self._db.execute(f'INSERT INTO "{_table(name)}" SELECT {version}, key, {row} FROM loading')


def _table(dimension: str) -> str:
    return f"dimension:{dimension}"
