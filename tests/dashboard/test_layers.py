"""Values taken apart by layer: additive measures add up, the others stand beside each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from dashboard.layers import SERIES, Values
from lake.domain import View

VIEW = View(
    name="sales",
    group_by={"shop": "shop", "hour": "hour"},
    measures={"revenue": {"sum": "amount"}, "buyers": {"distinct": "user_id"}},
)
NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)


def _table(*rows: tuple) -> pa.Table:
    schema = pa.schema(
        [
            ("shop", pa.string()),
            ("hour", pa.timestamp("us", "UTC")),
            ("revenue", pa.decimal128(38, 2)),
            ("buyers", pa.int64()),
        ]
    )
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


@pytest.fixture
def values() -> Values:
    return Values(
        VIEW,
        merged=_table((None, NINE, 3, 1), ("it's", NINE, 30, 2), ("it's", TEN, 5, 1)),
        batch=_table((None, NINE, 3, 1), ("it's", NINE, 10, 2)),
        speed=_table(("it's", NINE, 20, 1), ("it's", TEN, 5, 1)),
    )


def test_the_first_time_key_is_the_axis_and_the_first_string_key_the_colour(values):
    assert (values.time, values.series, values.step()) == ("hour", "shop", timedelta(hours=1))


def test_the_layers_of_an_additive_measure_add_up_to_the_merged_value(values):
    assert values.total("revenue") == {"merged": 38, "batch": 13, "speed": 25}
    over_time = [tuple(row.values()) for row in values.over_time("revenue", None, split=False).to_pylist()]
    assert over_time == [(NINE, "batch", "all", 13), (NINE, "speed", "all", 20), (TEN, "speed", "all", 5)]
    ranked = [tuple(row.values()) for row in values.by_series("revenue", None).to_pylist()]
    assert ranked == [("it's", "batch", 10), ("it's", "speed", 25), ("(none)", "batch", 3)]


def test_a_distinct_count_is_not_additive_and_stands_beside_its_layers(values):
    assert values.is_additive("revenue") and not values.is_additive("buyers")
    first = next(r for r in values.lines("buyers", None).to_pylist() if (r["series"], r["t"]) == ("it's", NINE))
    assert (first["merged"], first["batch"], first["speed"]) == (2, 2, 1)


def test_rows_with_a_missing_key_find_their_layers_too_and_the_newest_come_first(values):
    rows = values.compared().to_pylist()
    assert [row["hour"] for row in rows] == [TEN, NINE, NINE]
    [missing] = [row for row in rows if row["shop"] is None]
    assert (missing["revenue"], missing["revenue batch"], missing["revenue speed"]) == (3, 3, None)


def test_only_the_newest_points_of_time_are_drawn(values):
    assert values.since(1) == TEN
    assert values.over_time("revenue", values.since(1), split=True)["t"].unique().to_pylist() == [TEN]


def test_series_beyond_the_largest_are_one(values):
    many = _table(*((f"shop {n:02}", NINE, n, 1) for n in range(1, SERIES + 4)))
    rows = Values(VIEW, many, many, many.slice(0, 0)).over_time("revenue", None, split=True).to_pylist()
    assert len(rows) == SERIES + 1
    assert next(r["value"] for r in rows if r["series"] == "other") == 1 + 2 + 3
