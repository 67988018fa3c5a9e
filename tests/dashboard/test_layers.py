"""Values taken apart by layer: additive measures add up, the others stand beside each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from dashboard.layers import BARS, ROWS, SERIES, Values
from lake.view import View

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


@pytest.mark.parametrize(
    ("time", "step"),
    [
        (NINE - timedelta(hours=9), timedelta(days=1)),
        (NINE, timedelta(hours=1)),
        (NINE + timedelta(minutes=5), timedelta(minutes=1)),
        (NINE + timedelta(seconds=5), timedelta(minutes=1)),
    ],
)
def test_a_lone_bar_is_as_wide_as_the_unit_that_it_starts(time, step):
    table = _table(("it's", time, 1, 1))
    assert Values(VIEW, merged=table, batch=table, speed=table.slice(1)).step() == step


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


def test_of_a_view_with_a_limit_the_layers_have_the_rows_that_are_shown(values):
    limited = View(**VIEW.model_dump() | {"order_by": ["revenue desc"], "limit": 1})
    shown = Values(limited, values.merged.slice(1, 1), values.batch, values.speed)
    assert values.is_whole and not shown.is_whole
    assert shown.total("revenue") == {"merged": 30, "batch": 10, "speed": 20}
    assert len(shown.over_time("revenue", None, split=True)) == 2


def test_the_rows_of_a_view_over_another_do_not_add_up_by_layer(values):
    above = Values(View(**VIEW.model_dump() | {"over": "orders"}), values.merged, values.batch, values.speed)
    assert not above.is_additive("revenue")
    assert above.ranked("revenue").to_pylist()[0] == {
        "series": f"it's · {NINE:%Y-%m-%d %H:%M:%S}+00",
        "merged": 30,
        "batch": 10,
        "speed": 20,
    }


def test_of_many_rows_the_newest_are_in_the_table_else_the_largest():
    many = _table(*((f"shop {n:04}", NINE + n * timedelta(hours=1), n, 1) for n in range(ROWS + 500)))
    newest = Values(VIEW, many, many, many.slice(0, 0)).compared()
    assert len(newest) == ROWS and newest["revenue"][0].as_py() == ROWS + 499
    timeless = many.drop_columns("hour")
    by_shop = Values(
        View(**VIEW.model_dump() | {"group_by": {"shop": "shop"}}), timeless, timeless, timeless.slice(0, 0)
    )
    largest = by_shop.compared()
    assert (len(largest), largest["revenue"][0].as_py()) == (ROWS, ROWS + 499)
    ranked = by_shop.by_series("revenue", None)
    assert (len(ranked), ranked["series"][0].as_py()) == (BARS, f"shop {ROWS + 499:04}")


def test_a_candle_says_which_layers_it_comes_from_and_the_unit_is_in_the_title():
    prices = {name: {"max": "price"} for name in ("open", "high", "low", "close")}
    view = View(name="candles", group_by={"minute": "minute"}, measures=prices, units={"close": "EUR"})
    schema = pa.schema([("minute", pa.timestamp("us", "UTC")), *((name, pa.int64()) for name in prices)])
    rows = [{"minute": at, "open": 1, "high": 9, "low": 0, "close": 5} for at in (NINE, TEN)]
    first, second = (pa.Table.from_pylist([row], schema) for row in rows)
    values = Values(view, pa.Table.from_pylist(rows, schema), first, pa.concat_tables([first, second]))
    assert values.has_candles and values.title("close") == "close (EUR)"
    assert values.candles(None, None)["layer"].to_pylist() == ["both", "speed"]
