"""A view's values taken apart by layer, as tables for charts; nothing here knows a domain.

Invariant: only additive measures (count, sum) are ever added up, over keys or over layers. For the others batch, speed
and merged are three numbers that stand beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from lake.domain import View

BATCH, SPEED, MERGED = "batch", "speed", "merged"
SERIES = 8
"""So many values of a key have a colour of their own; the rest is `other`."""


@dataclass(frozen=True)
class Values:
    """A view's present values: merged, and of each layer alone. All three have the same columns."""

    view: View
    merged: pa.Table
    batch: pa.Table
    speed: pa.Table

    @property
    def keys(self) -> list[str]:
        return list(self.view.group_by)

    @property
    def measures(self) -> list[str]:
        return list(self.view.measures)

    @property
    def time(self) -> str | None:
        """The key that becomes the x axis: the first that is a time."""
        return next((k for k in self.keys if pa.types.is_timestamp(self.merged.schema.field(k).type)), None)

    @property
    def series(self) -> str | None:
        """The key that becomes the colour: the first that is a string."""
        return next((k for k in self.keys if pa.types.is_string(self.merged.schema.field(k).type)), None)

    def is_additive(self, measure: str) -> bool:
        return measure in self.view.measures and self.view.measures[measure].is_additive

    def total(self, measure: str) -> dict[str, float]:
        """An additive measure over all keys, by layer."""
        with _tables(self) as db:
            return {
                layer: db.sql(f'SELECT coalesce(sum("{measure}"), 0)::DOUBLE FROM {layer}').fetchall()[0][0]
                for layer in (MERGED, BATCH, SPEED)
            }

    def since(self, steps: int) -> datetime | None:
        """The start of the newest `steps` points of time that have a row; None if the view has no time."""
        if self.time is None:
            return None
        with _tables(self) as db:
            return db.sql(
                f'SELECT min(t) FROM (SELECT DISTINCT "{self.time}" AS t FROM merged ORDER BY t DESC LIMIT {steps})'
            ).fetchall()[0][0]

    def step(self) -> timedelta:
        """The smallest distance between two points of time: how wide a bar is."""
        with _tables(self) as db:
            [[found]] = db.sql(
                f"SELECT min(next - t) FROM (SELECT t, lead(t) OVER (ORDER BY t) AS next "
                f'FROM (SELECT DISTINCT "{self.time}" AS t FROM merged))'
            ).fetchall()
        return found or timedelta(minutes=1)

    def over_time(self, measure: str, since: datetime | None, split: bool) -> pa.Table:
        """An additive measure: t, layer, series, value. `split` False leaves the series out, as one called `all`."""
        series = self._series_of(measure, since) if split and self.series else "'all'"
        with _tables(self) as db:
            return db.sql(
                f'SELECT "{self.time}" AS t, layer, {series} AS series, sum("{measure}")::DOUBLE AS value '
                f"FROM layers WHERE {self._from(since)} GROUP BY ALL ORDER BY t, layer, series"
            ).to_arrow_table()

    def by_series(self, measure: str, since: datetime | None) -> pa.Table:
        """An additive measure: series, layer, value, the largest series first."""
        label = f"coalesce(\"{self.series}\", '(none)')"
        with _tables(self) as db:
            return db.sql(
                f'WITH summed AS (SELECT {label} AS series, layer, sum("{measure}")::DOUBLE AS value '
                f"FROM layers WHERE {self._from(since)} GROUP BY ALL) "
                "SELECT * FROM summed ORDER BY sum(value) OVER (PARTITION BY series) DESC, series, layer"
            ).to_arrow_table()

    def lines(self, measure: str, since: datetime | None) -> pa.Table:
        """A measure that cannot be added up: t, series, merged, batch, speed of the rows with the largest values."""
        names = [k for k in self.keys if k != self.time]
        label = " || ' · ' || ".join(f"coalesce(\"{k}\"::VARCHAR, '(none)')" for k in names) or "'all'"
        with _tables(self) as db:
            return db.sql(
                f"WITH labelled AS (SELECT *, {label} AS series FROM compared WHERE {self._from(since)}), "
                f'largest AS (SELECT series FROM labelled GROUP BY 1 ORDER BY avg("{measure}") DESC LIMIT {SERIES}) '
                f'SELECT "{self.time}" AS t, series, "{measure}" AS merged, "{measure} {BATCH}" AS batch, '
                f'"{measure} {SPEED}" AS speed FROM labelled SEMI JOIN largest USING (series) ORDER BY t, series'
            ).to_arrow_table()

    def compared(self) -> pa.Table:
        """Every row: the keys, then for each measure merged, batch, speed. Newest first."""
        order = [f'"{key}"' + (" DESC" if key == self.time else "") for key in self.keys]
        order.sort(key=lambda column: not column.endswith(" DESC"))
        with _tables(self) as db:
            return db.sql(f"SELECT * FROM compared ORDER BY {', '.join(order) or 'ALL'}").to_arrow_table()

    def _from(self, since: datetime | None) -> str:
        return f"\"{self.time}\" >= '{since.isoformat()}'::TIMESTAMPTZ" if since and self.time else "true"

    def _series_of(self, measure: str, since: datetime | None) -> str:
        """SQL: the series, with all but the largest called `other`."""
        named = self.by_series(measure, since)["series"].unique().to_pylist()[:SERIES]
        known = ", ".join("'" + name.replace("'", "''") + "'" for name in named) or "''"
        label = f"coalesce(\"{self.series}\", '(none)')"
        return f"CASE WHEN {label} IN ({known}) THEN {label} ELSE 'other' END"


@contextmanager
def _tables(values: Values) -> Iterator[duckdb.DuckDBPyConnection]:
    """merged, batch and speed; `layers`, the two under each other; `compared`, all three side by side."""
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET TimeZone = 'UTC'")
        for layer in (MERGED, BATCH, SPEED):
            db.register(layer, getattr(values, layer))
        db.execute(
            f"CREATE VIEW layers AS SELECT '{BATCH}' AS layer, * FROM batch UNION ALL SELECT '{SPEED}', * FROM speed"
        )
        columns = [f'merged."{key}"' for key in values.keys]
        for m in values.measures:
            columns += [f'merged."{m}"', f'batch."{m}" AS "{m} {BATCH}"', f'speed."{m}" AS "{m} {SPEED}"']
        joins = " ".join(
            f"LEFT JOIN {layer} ON "
            + (" AND ".join(f'merged."{k}" IS NOT DISTINCT FROM {layer}."{k}"' for k in values.keys) or "true")
            for layer in (BATCH, SPEED)
        )
        db.execute(f"CREATE VIEW compared AS SELECT {', '.join(columns)} FROM merged {joins}")
        yield db
