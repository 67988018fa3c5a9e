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

from lake import state_files
from lake.errors import MissingCoverage
from lake.pins import Parts, Pin, Segments
from lake.plan import STATES
from lake.serving import Serving

REST, MOST_SECONDS = 4, 1.0
"""How many times as long as it took to come to a moment queries are answered as of it, and for how long at most."""
_TOGETHER_SECONDS = 1.0
_CLOSE_SECONDS = 60.0
"""For so long a statement finds the files of views that were others when it began: to open them, not to end."""
LAYERS = {"": ("batch", "final", "moving"), "marts.": ("batch",), "speed.": ("final", "moving")}
"""What a view is called by, and what of its states it is made from."""


@dataclass(frozen=True)
class _Held:
    """What the tables hold of a stored view."""

    copies: list[Path]
    final: Segments
    moving: Segments


class MergedTables:
    """Makes and keeps the views `v`, `marts.v` and `speed.v` of `db` for each view `v` of a serving.

    Its own tables are in the schema `name`. `before` are another version's, whose place these take when they are first
    brought. Not to be shared between threads; statements that read may go on meanwhile.
    """

    def __init__(
        self, db: duckdb.DuckDBPyConnection, serving: Serving, name: str, before: MergedTables | None = None
    ) -> None:
        self.serving = serving
        self._db, self._name, self._before = db, name, before
        self._held: dict[str, _Held] = {}
        self._brought: set[str] = set()
        self._opened: dict[Path, float] = {}  # and when each was last needed
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
            if self._before:
                self._before.drop_views()
            for parts, copies in found:
                self._take(parts, copies)
            self._db.execute("COMMIT")
        except BaseException:
            self._held.clear()
            with suppress(duckdb.Error):  # it may have ended by itself
                self._db.execute("ROLLBACK")
            raise
        if self._before:
            # It may have opened files that these views are made from, too.
            self._opened = self._before.drop_tables() | self._opened
            self._before = None
        self._close_others()
        if began - self._begun_at >= _TOGETHER_SECONDS:
            self._begun_at = began
        self._brought, self._brought_at = stored, time.monotonic()
        self._took = self._brought_at - began

    def drop_views(self) -> None:
        """Remove what a query may name."""
        if self._before:
            self._before.drop_views()
        for view in self.serving.domain.views:
            for schema in LAYERS:
                self._db.execute(f'DROP VIEW IF EXISTS {schema}"{view}"')

    def drop_tables(self) -> dict[Path, float]:
        """Remove what the views were made from, but for the files, which are handed over."""
        older = self._before.drop_tables() if self._before else {}
        self._db.execute(f'DROP SCHEMA "{self._name}" CASCADE')
        self._held.clear()
        return older | self._opened

    def _found(self, pin: Pin, stored: Collection[str]) -> list[tuple[Parts, list[Path]]]:
        """What each of these views is made from at a pin, its copies made and opened."""
        found = [(parts, self.serving.copies(parts)) for parts in (pin.parts(view) for view in sorted(stored))]
        for file in (file for _, copies in found for file in copies if file not in self._opened):
            state_files.open_in(self._db, [file])
            self._opened[file] = time.monotonic()
        return found

    def _take(self, parts: Parts, copies: list[Path]) -> None:
        view = parts.view
        held = self._held.get(view)
        self._write(view, "seen", f"SELECT TIMESTAMPTZ '{parts.as_of.isoformat()}' AS as_of")
        added = parts.added(held.final) if held else None
        if added is None:
            self._write(view, "final", self._merged(view, parts.states(parts.final)))
        elif added:
            self._write(view, "final", self._merged(view, parts.states(added), self._table(view, "final")))
        if held is None or parts.moving != held.moving:
            self._write(view, "moving", self._arrived(view, parts.states(parts.moving)))
        if held is None or copies != held.copies:
            self._define(view, copies)
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
        return _over(both, self._sql(view)["merge"])

    def _close_others(self) -> None:
        """The files that no view is made from any more."""
        now = time.monotonic()
        self._opened |= {file: now for held in self._held.values() for file in held.copies}
        closed = [file for file, needed in self._opened.items() if needed < now - _CLOSE_SECONDS]
        state_files.close(self._db, closed)
        for file in closed:
            del self._opened[file]

    def _define(self, stored: str, copies: Sequence[Path]) -> None:
        """The views over a stored view's tables and copies; DuckDB binds them anew in each query."""
        parts = {part: f"SELECT * FROM {self._table(stored, part)}" for part in ("final", "moving")}
        columns = ", ".join(f'"{name}"' for name in self.serving.kernel.schema(stored).names)
        parts["batch"] = state_files.select(copies, columns) if copies else f"{parts['moving']} WHERE false"
        views = self.serving.domain.views
        for view in [name for name in views if self.serving.kernel.stored(name) == stored]:
            for schema, read in LAYERS.items():
                values = self._values(view, " UNION ALL ".join(parts[part] for part in read))
                if not schema:
                    as_of = f"(SELECT as_of FROM {self._table(stored, 'seen')})"
                    shown = self._sql(view)["show"].replace("$as_of", as_of)
                    values = _over(values, shown, ":presented")
                self._db.execute(f'CREATE OR REPLACE VIEW {schema}"{view}" AS {values}')

    def _values(self, view: str, states: str) -> str:
        """SQL: a view's values, from states of the stored view below it."""
        sql, over = self._sql(view), self.serving.domain.views[view].over
        if over is None:
            rows = _over(states, sql["merge"])
        else:
            rows = _over(self._values(over, states), sql["aggregate"], "below")
        return _over(rows, sql["present"])

    def _sql(self, view: str) -> dict[str, str]:
        return self.serving.kernel.sql(view)

    def _table(self, view: str, part: str) -> str:
        return f'"{self._name}"."{view}:{part}"'


def _over(source: str, sql: str, name: str = STATES) -> str:
    """SQL that reads the table `name`, with this SELECT in its place.

    In place it costs a query half a millisecond of planning less than as a table expression before it; a name that
    occurs more than once stays one.
    """
    table = f'"{name}"'
    if sql.count(table) == 1:
        return sql.replace(table, f"({source})")
    return f"WITH {table} AS ({source}) SELECT * FROM ({sql})"
