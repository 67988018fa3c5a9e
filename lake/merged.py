"""The views of one Serving as SQL views of a DuckDB database, so that a query computes only the rows it asks for.

A stored view is a table of its segments' states and the copies of its mart, below the kernel's own SQL: merge, present,
show. DuckDB carries a condition on keys down to both, where it skips what cannot hold them.
Invariant: what a transaction sees of all views that were brought together is one moment of the log, and its heads were
admitted by the Serving; where nothing new may be shown, the tables stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.errors import MissingCoverage
from lake.local_mart import scan
from lake.pins import Parts, Pin, Segments
from lake.serving import Serving

REST, MOST_SECONDS = 4, 1.0
"""How many times as long as it took to come to a moment queries are answered as of it, and for how long at most."""
_TOGETHER_SECONDS = 1.0
LAYERS = {"": "states", "marts.": "batch", "speed.": "speed"}
"""What a view is called by, and what of its states it is made from."""


@dataclass(frozen=True)
class _Held:
    """What the tables hold of a stored view."""

    copies: list[Path]
    final: Segments
    moving: Segments


class MergedTables:
    """Makes and keeps the views `v`, `marts.v` and `speed.v` of `db` for each view `v` of a serving.

    Its own tables are in the schema `name`. Not to be shared between threads; reading transactions may go on meanwhile.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, serving: Serving, name: str) -> None:
        self.serving = serving
        self._db, self._name = db, name
        self._held: dict[str, _Held] = {}
        self._brought: set[str] = set()
        self._begun_at, self._brought_at, self._took = 0.0, 0.0, 0.0
        db.execute(f'CREATE SCHEMA "{name}"')

    def bring(self, views: Collection[str]) -> None:
        """Bring these views to one new moment, unless they are all at one that is young enough.

        Raises MissingCoverage if a view cannot be answered and never was.
        """
        stored = {self.serving.kernel.stored(view) for view in views}
        began = time.monotonic()
        if stored <= self._brought and began - self._brought_at < min(REST * self._took, MOST_SECONDS):
            return
        # Whoever asks in turns for several views would bring each at each turn.
        if began - self._begun_at < _TOGETHER_SECONDS:
            stored |= self._brought
        try:
            found = self.serving.newest(lambda pin: self._found(pin, stored))
            self.serving.show({parts.view: parts.head for parts, _ in found})
        except MissingCoverage:
            if stored <= self._brought:
                return
            raise
        try:
            self._db.execute("BEGIN")
            for parts, copies in found:
                self._take(parts, copies)
            self._db.execute("COMMIT")
        except BaseException:
            self._held.clear()
            with suppress(duckdb.Error):  # it may have ended by itself
                self._db.execute("ROLLBACK")
            raise
        if began - self._begun_at >= _TOGETHER_SECONDS:
            self._begun_at = began
        self._brought, self._brought_at = stored, time.monotonic()
        self._took = self._brought_at - began

    def drop(self) -> None:
        """Remove all of it."""
        for view in self.serving.domain.views:
            for schema in LAYERS:
                self._db.execute(f'DROP VIEW IF EXISTS {schema}"{view}"')
        self._db.execute(f'DROP SCHEMA "{self._name}" CASCADE')

    def _found(self, pin: Pin, stored: Collection[str]) -> list[tuple[Parts, list[Path]]]:
        """What each of these views is made from at a pin, its copies made."""
        return [(parts, self.serving.copies(parts)) for parts in (pin.parts(view) for view in sorted(stored))]

    def _take(self, parts: Parts, copies: list[Path]) -> None:
        view = parts.view
        held = self._held.get(view)
        self._write(view, "seen", f"SELECT TIMESTAMPTZ '{parts.as_of.isoformat()}' AS as_of")
        added = parts.added(held.final) if held else None
        if held is None or added is None:
            self._write(view, "final", self._merged(view, parts.states(parts.final)))
            self._write(view, "moving", self._arrived(view, parts.states(parts.moving)))
            self._scan(view, copies)
            self._define(view)
            self._held[view] = _Held(copies, parts.final, parts.moving)
            return
        if held.copies != copies:
            self._scan(view, copies)
        if added:
            self._write(view, "final", self._merged(view, parts.states(added), self._table(view, "final")))
        if parts.moving != held.moving:
            self._write(view, "moving", self._arrived(view, parts.states(parts.moving)))
        self._held[view] = _Held(copies, parts.final, parts.moving)

    def _write(self, view: str, table: str, rows: str) -> None:
        # A table is always written as a whole: DuckDB 2.0 keeps the statistics of an empty table that is filled in the
        # transaction that made it, and then finds nothing in it.
        self._db.execute(f"CREATE OR REPLACE TABLE {self._table(view, table)} AS {rows}")

    def _arrived(self, view: str, states: Sequence[pa.Table]) -> str:
        """SQL: the rows of these states, in the view's own schema."""
        rows = pa.concat_tables([self.serving.kernel.schema(view).empty_table(), *states])
        self._db.register("arriving", rows.combine_chunks())
        return "SELECT * FROM arriving"

    def _merged(self, view: str, states: Sequence[pa.Table], known: str | None = None) -> str:
        """SQL: these states merged, with those in a table."""
        rows = self._arrived(view, states)
        both = f"{rows} UNION ALL SELECT * FROM {known}" if known else rows
        return _over(f"({both})", self._sql(view)["merge"])

    def _scan(self, view: str, copies: Sequence[Path]) -> None:
        columns = ", ".join(f'"{name}"' for name in self.serving.kernel.schema(view).names)
        source = scan(copies) if copies else f"{self._table(view, 'moving')} WHERE false"
        self._db.execute(f"CREATE OR REPLACE VIEW {self._table(view, 'batch')} AS SELECT {columns} FROM {source}")

    def _define(self, stored: str) -> None:
        """The views over a stored view's tables; DuckDB binds them anew in each query."""
        batch, final, moving = (self._table(stored, part) for part in ("batch", "final", "moving"))
        self._view(self._table(stored, "speed"), f"SELECT * FROM {final} UNION ALL SELECT * FROM {moving}")
        speed = self._table(stored, "speed")
        self._view(self._table(stored, "states"), f"SELECT * FROM {batch} UNION ALL SELECT * FROM {speed}")
        views = self.serving.domain.views
        for view in [name for name in views if self.serving.kernel.stored(name) == stored]:
            for schema, layer in LAYERS.items():
                values = self._values(view, layer)
                if not schema:
                    as_of = f"(SELECT as_of FROM {self._table(stored, 'seen')})"
                    shown = self._sql(view)["show"].replace("$as_of", as_of)
                    values = _over(f"({values})", shown, ":presented")
                self._view(f'{schema}"{view}"', values)

    def _values(self, view: str, layer: str) -> str:
        """SQL: a view's values, from one layer's states or from all."""
        sql, over = self._sql(view), self.serving.domain.views[view].over
        if over is None:
            states = _over(self._table(view, layer), sql["merge"])
        else:
            states = _over(f"({self._values(over, layer)})", sql["aggregate"], "below")
        return _over(f"({states})", sql["present"])

    def _view(self, name: str, sql: str) -> None:
        self._db.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    def _sql(self, view: str) -> dict[str, str]:
        return self.serving.kernel.sql(view)

    def _table(self, view: str, part: str) -> str:
        return f'"{self._name}"."{view}:{part}"'


def _over(source: str, sql: str, name: str = ":states") -> str:
    """SQL that reads the table `name`, with this source in its place."""
    return f'WITH "{name}" AS (SELECT * FROM {source}) SELECT * FROM ({sql})'
