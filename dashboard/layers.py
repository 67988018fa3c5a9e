"""A view's values taken apart by layer, as tables for charts; nothing here knows a domain.

Invariant: only additive values (count, sum) are ever added up, over keys or over layers. For the others, and for all of
a view over another, batch, speed and merged are three numbers that stand beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import duckdb
import pyarrow as pa

from dashboard.columns import CANDLE, Columns

BATCH, SPEED, MERGED = "batch", "speed", "merged"
SERIES = 8
"""So many values of a key have a colour of their own; the rest is `other`."""
BARS = 20
"""So many bars a ranking has."""
_UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1))
ROWS = 1000
"""So many rows are shown of a view that has more: the first, newest or largest."""


@dataclass(frozen=True)
class Values(Columns):
    """A view's present values: merged, as the view shows them, and of each layer alone. All have the same columns."""

    batch: pa.Table
    speed: pa.Table

    def total(self, column: str) -> dict[str, float]:
        """An additive column over all keys, by layer."""
        return {
            layer: self._db.sql(f'SELECT coalesce(sum("{column}"), 0)::DOUBLE FROM {layer}').fetchall()[0][0]
            for layer in (MERGED, BATCH, SPEED)
        }

    def since(self, steps: int) -> datetime | None:
        """The start of the newest `steps` points of time that have a row; None if the view has no time."""
        if self.time is None:
            return None
        return self._db.sql(
            f"SELECT min(t) FROM (SELECT DISTINCT {self._t} AS t FROM merged WHERE {self._t} IS NOT NULL "
            f"ORDER BY t DESC LIMIT {steps})"
        ).fetchall()[0][0]

    def step(self) -> timedelta:
        """How wide a bar is: the smallest distance between two points of time; a lone one has its day, hour or minute,
        whichever it is the start of.
        """
        [[found, first]] = self._db.sql(
            f"SELECT min(next - t), min(t) FROM (SELECT t, lead(t) OVER (ORDER BY t) AS next "
            f"FROM (SELECT DISTINCT {self._t} AS t FROM merged))"
        ).fetchall()
        if found or first is None:
            return found or _UNITS[-1]
        return next((unit for unit in _UNITS if not first.timestamp() % unit.total_seconds()), _UNITS[-1])

    def over_time(self, column: str, since: datetime | None, split: bool, only: str | None = None) -> pa.Table:
        """An additive column: t, layer, series, value. `split` False leaves the series out, as one called `all`;
        `only` is the one value of the series that is wanted."""
        series = self._series_of(column, since) if split and self.series and only is None else "'all'"
        return self._db.sql(
            f'SELECT {self._t} AS t, _layer AS layer, {series} AS series, sum("{column}")::DOUBLE AS value '
            f"FROM layers WHERE {self._timed(since, only)} GROUP BY ALL ORDER BY t, layer, series"
        ).to_arrow_table()

    def by_series(self, column: str, since: datetime | None) -> pa.Table:
        """An additive column: series, layer, value, the largest series first, at most BARS of them."""
        return self._db.sql(
            f'WITH summed AS (SELECT {self._label} AS series, _layer AS layer, sum("{column}")::DOUBLE AS value '
            f"FROM layers WHERE {self._from(since)} GROUP BY ALL), "
            "whole AS (SELECT series, coalesce(sum(value), 0) AS whole FROM summed GROUP BY ALL "
            f"ORDER BY whole DESC, series LIMIT {BARS}) "
            "SELECT summed.* FROM summed JOIN whole USING (series) ORDER BY whole DESC, series, layer"
        ).to_arrow_table()

    def ranked(self, column: str, since: datetime | None = None) -> pa.Table:
        """Any numbers: series, merged, batch, speed of the first rows: in the view's own order, else the largest."""
        order = "_row" if self.view.order_by else f'"{column}" DESC NULLS LAST, _row'
        label = self._row_label(since is not None)
        return self._db.sql(
            f"SELECT {label} AS series, {_three(column)} FROM compared WHERE {self._from(since)} "
            f"ORDER BY {order} LIMIT {BARS}"
        ).to_arrow_table()

    def lines(self, column: str, since: datetime | None) -> pa.Table:
        """Any numbers over time: t, series, merged, batch, speed of the rows with the largest values."""
        return self._db.sql(
            f"WITH labelled AS (SELECT *, {self._row_label(True)} AS _series FROM compared "
            f"WHERE {self._timed(since)}), "
            f'largest AS (SELECT _series FROM labelled GROUP BY 1 ORDER BY avg("{column}") DESC NULLS LAST, 1 '
            f"LIMIT {SERIES}) "
            f"SELECT {self._t} AS t, _series AS series, {_three(column)} "
            "FROM labelled SEMI JOIN largest USING (_series) ORDER BY 1, 2"
        ).to_arrow_table()

    def candles(self, series: str | None, since: datetime | None) -> pa.Table:
        """t, open, high, low, close, and `layer`: batch, speed, or both of them, of one value of the series."""
        numbers = ", ".join(f'"{c}"::DOUBLE AS "{c}"' for c in CANDLE)
        has = {layer: f'"open {layer}" IS NOT NULL' for layer in (BATCH, SPEED)}
        return self._db.sql(
            f"SELECT {self._t} AS t, {numbers}, CASE WHEN {has[BATCH]} AND {has[SPEED]} THEN 'both' "
            f"WHEN {has[BATCH]} THEN '{BATCH}' ELSE '{SPEED}' END AS layer "
            f"FROM compared WHERE {self._timed(since, series)} ORDER BY t"
        ).to_arrow_table()

    def names(self) -> list[str]:
        """The values of the series, those with most rows first."""
        rows = self._db.sql(
            f"SELECT {self._label} AS name FROM merged GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {ROWS}"
        )
        return [name for (name,) in rows.fetchall()]

    def rows(self, column: str) -> list[str]:
        """The labels of the rows that have something in a list of counts, in their order."""
        filled = f'FROM compared WHERE len("{column}") > 0 ORDER BY {self._order} LIMIT {ROWS}'
        return [label for (label,) in self._db.sql(f"SELECT {self._row_label(False)} {filled}").fetchall()]

    def counts(self, column: str, row: str) -> pa.Table:
        """A list of counts in one row: series, merged, batch, speed, in the list's own order."""
        name = self.kind_of(column).value_type.field(0).name  # value, or up_to
        layers = {MERGED: column, BATCH: f"{column} {BATCH}", SPEED: f"{column} {SPEED}"}
        items = " UNION ALL ".join(
            f'SELECT \'{layer}\' AS layer, unnest("{c}") AS e, unnest(range(len("{c}"))) AS place FROM found'
            for layer, c in layers.items()
        )
        numbers = ", ".join(f"max(e.count) FILTER (WHERE layer = '{layer}')::DOUBLE AS {layer}" for layer in layers)
        return self._db.sql(
            f"WITH found AS (SELECT * FROM compared WHERE {self._row_label(False)} = {_literal(row)} LIMIT 1), "
            f"items AS ({items}) SELECT coalesce(e.{name}::VARCHAR, 'above') AS series, {numbers} FROM items "
            f"GROUP BY 1 HAVING merged IS NOT NULL ORDER BY min(place) FILTER (WHERE layer = '{MERGED}')"
        ).to_arrow_table()

    def compared(self) -> pa.Table:
        """The first ROWS rows, in the view's order, else the newest: keys, then merged, batch, speed of each column."""
        return self._db.sql(
            f"SELECT * EXCLUDE (_row) FROM compared ORDER BY {self._order} LIMIT {ROWS}"
        ).to_arrow_table()

    @property
    def _order(self) -> str:
        if self.view.order_by:
            return "_row"
        if self.time:
            return ", ".join([f'"{self.time}" DESC', *(f'"{key}"' for key in self.keys if key != self.time)])
        largest = next((c for c in self.numbers if self.is_additive(c)), None)
        return f'"{largest}" DESC NULLS LAST, _row' if largest else "_row"

    @property
    def _t(self) -> str:
        return f'"{self.time}"::TIMESTAMPTZ'

    @property
    def _label(self) -> str:
        return _text(self.series) if self.series else "'all'"

    def _row_label(self, without_time: bool) -> str:
        names = [k for k in self.keys if not (without_time and k == self.time)]
        return " || ' · ' || ".join(map(_text, names)) or "'all'"

    def _from(self, since: datetime | None) -> str:
        return f"{self._t} >= '{since.isoformat()}'::TIMESTAMPTZ" if since and self.time else "true"

    def _timed(self, since: datetime | None, only: str | None = None) -> str:
        """SQL: rows that have a time, from `since` on, of one value of the series."""
        one = "" if only is None else f" AND {self._label} = {_literal(only)}"
        return f"{self._from(since)} AND {self._t} IS NOT NULL{one}"

    def _series_of(self, column: str, since: datetime | None) -> str:
        """SQL: the series, with all but the largest called `other`."""
        named = self.by_series(column, since)["series"].unique().to_pylist()[:SERIES]
        known = ", ".join(map(_literal, named)) or "''"
        return f"CASE WHEN {self._label} IN ({known}) THEN {self._label} ELSE 'other' END"

    @cached_property
    def _db(self) -> duckdb.DuckDBPyConnection:
        """merged, batch and speed, of the rows that are shown; `layers`, the last two under each other; `compared`, all
        three side by side."""
        same = {
            layer: " AND ".join(f'merged."{k}" IS NOT DISTINCT FROM {layer}."{k}"' for k in self.keys) or "true"
            for layer in (BATCH, SPEED)
        }
        db = duckdb.connect(config={"threads": 1})
        db.execute("SET TimeZone = 'UTC'")
        db.register(MERGED, self.merged.append_column("_row", pa.array(range(len(self.merged)), pa.int64())))
        for layer, rows in ((BATCH, self.batch), (SPEED, self.speed)):
            db.register(f"all {layer}", rows)
            shown = "" if self.is_whole else f"SEMI JOIN merged ON {same[layer]}"
            db.execute(f'CREATE VIEW {layer} AS SELECT * FROM "all {layer}" AS {layer} {shown}')
        db.execute(
            f"CREATE VIEW layers AS SELECT '{BATCH}' AS _layer, * FROM batch UNION ALL SELECT '{SPEED}', * FROM speed"
        )
        columns = [f'merged."{key}"' for key in self.keys]
        for c in self.columns:
            columns += [f'merged."{c}"', f'batch."{c}" AS "{c} {BATCH}"', f'speed."{c}" AS "{c} {SPEED}"']
        joins = " ".join(f"LEFT JOIN {layer} ON {on}" for layer, on in same.items())
        db.execute(f"CREATE VIEW compared AS SELECT {', '.join(columns)}, _row FROM merged {joins}")
        return db


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _text(key: str) -> str:
    return f"coalesce(\"{key}\"::VARCHAR, '(none)')"


def _three(column: str) -> str:
    sources = ((column, MERGED), (f"{column} {BATCH}", BATCH), (f"{column} {SPEED}", SPEED))
    return ", ".join(f'"{source}"::DOUBLE AS {name}' for source, name in sources)
