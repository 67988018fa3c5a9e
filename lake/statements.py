"""SQL over Arrow tables that change from call to call: each statement is planned once, and then only run.

To plan one takes milliseconds, many times what running it over a small batch does.
"""

from __future__ import annotations

import warnings

import duckdb
import pyarrow as pa

# What DuckDB advises instead plans a statement again that is prepared, which costs more than the copy.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)


class _Table:
    """What DuckDB scans under a name; it asks for the stream anew whenever a statement runs."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Statements:
    """The statements and tables of one connection. One a thread, as the connection."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        self._tables: dict[str, _Table] = {}
        self._prepared: dict[str, str] = {}
        self._number = 0

    def give(self, name: str, rows: pa.Table) -> None:
        """Make these the rows of a table. What was planned over it is planned anew if its columns change."""
        known = self._tables.get(name)
        if known is not None and known.rows.schema.equals(rows.schema):
            known.rows = rows
            return
        self._tables[name] = table = _Table(rows)
        self._db.register(name, table)
        # A plan holds on to the table that it was made for. Who only seems to name it is planned anew, too.
        for sql in [sql for sql in self._prepared if name in sql]:
            self._db.execute(f"DEALLOCATE {self._prepared.pop(sql)}")

    def run(self, sql: str) -> pa.Table:
        """The rows of a SELECT."""
        if sql not in self._prepared:
            self._number += 1
            name = f"statement_{self._number}"
            self._db.execute(f"PREPARE {name} AS {sql}")
            self._prepared[sql] = name
        rows: pa.Table = self._db.execute(f"EXECUTE {self._prepared[sql]}").to_arrow_table()
        return rows
