"""Dimensions: tables such as the users, dumped into the lake in versions that are kept as long as raw.

Invariant: a version is written once, whole, and never changes: version N + 1 is committed only on a table whose newest
is N. Values are kept as text, as they came; a domain says what it reads them as.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from lake.errors import BadDimension
from lake.expressions import nearest
from lake.fields import EventField
from lake.formats.typed import LAST_MS
from lake.settings import Settings
from lake.tables import data_files, open_table, read_file

VERSION = "version"
KEY = "key"
_TRANSACTION = "tidemark-dimension"


class Dimensions:
    """All dimensions of a lake, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def newest(self, name: str) -> int:
        """The newest version; 0 where there is none."""
        return _newest(open_table(self._settings, self.uri(name)))

    def load(self, name: str, rows: pa.Table, declared: Iterable[dict[str, str]]) -> int:
        """Write a version, whole; its number. `rows`: `key` and further columns, of any types.

        `declared`: for each domain that has the dimension, its columns' types. Raises BadDimension if a key is missing
        or there twice, a declared column is missing, or a value is not of its type; or if another load came first.
        """
        texts = _as_texts(name, rows)
        for columns in declared:
            _check(name, texts, columns)
        table = self._create(name)
        version = _newest(table) + 1
        numbered = texts.add_column(0, VERSION, pa.array([version] * len(texts), pa.int64()))
        try:
            # From `table`: a load by anybody since it was read makes this one fail.
            write_deltalake(
                table,
                numbered,
                mode="append",
                schema_mode="merge",
                commit_properties=CommitProperties(app_transactions=[Transaction(_TRANSACTION, version)]),
            )
        except DeltaError as error:
            if not self._holds(name, version, texts):
                raise BadDimension(f"{name}: version {version} was not written ({error}); load it again") from error
        return version

    def table(self, name: str, version: int) -> pa.Table:
        """`key` and the other columns of one version, as text. Raises BadDimension if there is no such version."""
        table = open_table(self._settings, self.uri(name))
        files = [] if table is None else data_files(table)
        paths = [file["path"] for file in files if file[f"partition.{VERSION}"] == version]
        if not paths:
            newest = _newest(table)
            known = f"there are 1 to {newest}" if newest else "none was ever loaded"
            raise BadDimension(f"dimension '{name}' has no version {version}; {known} (`tidemark dimension load`)")
        read = [read_file(self._settings, self.uri(name), path, None) for path in paths]
        return pa.concat_tables(read, promote_options="permissive")

    def _holds(self, name: str, version: int, texts: pa.Table) -> bool:
        """Whether the commit landed although its reply did not: another's rows would be others."""
        if self.newest(name) < version:
            return False
        found = self.table(name, version)
        return set(found.column_names) >= set(texts.column_names) and found.select(texts.column_names).sort_by(
            KEY
        ).equals(texts.sort_by(KEY))

    def _create(self, name: str) -> DeltaTable:
        schema = pa.schema([(VERSION, pa.int64()), (KEY, pa.string())])
        options = self._settings.storage_options()
        return DeltaTable.create(self.uri(name), schema, mode="ignore", partition_by=[VERSION], storage_options=options)

    def rows(self, name: str, version: int) -> int:
        """How many rows a version has; 0 where there is no such version."""
        table = open_table(self._settings, self.uri(name))
        return sum(f["num_records"] for f in data_files(table) if f[f"partition.{VERSION}"] == version) if table else 0

    def uri(self, name: str) -> str:
        """The Delta table of all its versions, partitioned by `version`."""
        return self._settings.table_uri("dimensions", name)


def _newest(table: DeltaTable | None) -> int:
    return (table.transaction_version(_TRANSACTION) or 0) if table else 0


def typed(kind: str, column: str) -> str:
    """SQL: a text column as a value of a field's type; NULL where it is none."""
    field = EventField(type=kind)
    if field.decimal:
        return f'TRY_CAST("{column}" AS DECIMAL{field.decimal})'
    match field.type:
        case "timestamp":
            moment = f"(TRY_CAST(\"{column}\" AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
            return f"CASE WHEN year({moment}) BETWEEN 1970 AND 9999 THEN {moment} END"
        case "timestamp_ms":
            number = f'TRY_CAST("{column}" AS BIGINT)'
            return f"CASE WHEN {number} BETWEEN 0 AND {LAST_MS} THEN make_timestamp_ms({number}) END"
        case "double":
            return f'(TRY_CAST("{column}" AS DOUBLE) + 0.0)'
    return f'TRY_CAST("{column}" AS {_PLAIN[field.type]})'


_PLAIN = {"string": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN"}


def _as_texts(name: str, rows: pa.Table) -> pa.Table:
    if KEY not in rows.column_names:
        raise BadDimension(f"{name}: a column '{KEY}' is needed, found {', '.join(rows.column_names)}")
    if VERSION in rows.column_names:
        raise BadDimension(f"{name}: '{VERSION}' is given by the lake; leave that column out")
    if not len(rows):
        raise BadDimension(f"{name}: no rows; an empty dimension is most likely a broken export")
    with _over(rows) as db:
        columns = ", ".join(f'CAST("{c}" AS VARCHAR) AS "{c}"' for c in rows.column_names)
        texts = db.sql(f"SELECT {columns} FROM rows").to_arrow_table()
        missing = db.sql("SELECT count(*) FROM rows WHERE key IS NULL OR CAST(key AS VARCHAR) = ''").fetchall()[0][0]
        twice = db.sql("SELECT CAST(key AS VARCHAR) FROM rows GROUP BY 1 HAVING count(*) > 1 ORDER BY 1").fetchall()
    if missing:
        raise BadDimension(f"{name}: {missing} rows have no key")
    if twice:
        raise BadDimension(f"{name}: {len(twice)} keys are there more than once, the first is '{twice[0][0]}'")
    return texts


def _check(name: str, texts: pa.Table, columns: dict[str, str]) -> None:
    for column, kind in columns.items():
        if column not in texts.column_names:
            raise BadDimension(f"{name}: column '{column}' is missing; {nearest(column, texts.column_names)}")
        with _over(texts) as db:
            wrong = db.sql(
                f'SELECT key, "{column}" FROM rows WHERE "{column}" IS NOT NULL AND {typed(kind, column)} IS NULL'
            ).fetchall()
        if wrong:
            key, value = wrong[0]
            raise BadDimension(
                f"{name}: {len(wrong)} values of '{column}' are no {kind}, the first is '{value}' of key '{key}'"
            )


def _over(rows: pa.Table) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(config={"threads": 1})
    db.execute("SET TimeZone = 'UTC'")
    db.register("rows", rows)
    return db
