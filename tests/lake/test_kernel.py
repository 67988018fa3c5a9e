"""The kernel against plain Python, and parsing record by record."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.domain import Domain, load_domain
from lake.kernel import COUNTS, QUARANTINE, Kernel, decode, encode
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from lake.view import View
from tests.reference import Reference

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
VIEWS = ("revenue_by_country_hour", "visitors_by_page_minute")
GOOD = {
    "event_id": "e1",
    "event_type": "order",
    "event_time": 1_795_262_400_000,
    "user_id": "u1",
    "country": "DE",
    "amount": "12.30",
}


@pytest.fixture(scope="module")
def shop() -> Domain:
    return load_domain("shop", Settings().domains_dir)


@pytest.fixture(scope="module")
def kernel(shop: Domain) -> Kernel:
    return Kernel(shop)


def records(values: list[bytes | None], headers: list | None = None) -> pa.Table:
    """Records of four partitions, round robin, a millisecond apart."""
    rows = [
        {
            "partition": i % 4,
            "offset": i // 4,
            "append_time": NOON + timedelta(milliseconds=i),
            "key": b"k",
            "value": value,
            "headers": headers or [],
        }
        for i, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, RAW_SCHEMA)


def as_states(table: pa.Table, keys: list[str]) -> dict[tuple, tuple]:
    rows = [tuple(row.values()) for row in table.to_pylist()]
    return {row[: len(keys)]: row[len(keys) :] for row in rows}


def reason_of(kernel: Kernel, value: bytes | None, headers: list | None = None) -> str | None:
    result = kernel.run(records([value], headers))
    [counts] = result[COUNTS].to_pylist()
    assert counts["events"] == counts["good"] + counts["quarantined"] + counts["markers"] == 1
    if counts["markers"]:
        return "marker"
    return result[QUARANTINE]["reason"][0].as_py() if len(result[QUARANTINE]) else None


def changed(**fields: object) -> bytes:
    return json.dumps({k: v for k, v in {**GOOD, **fields}.items() if v != "-"}).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (changed(), None),
        (changed(amount=None), None),
        (changed(amount="-"), None),
        (changed(amount=12.5), None),
        (changed(amount=0), None),
        (changed(unknown={"kept": "in raw"}), None),
        (changed(user_id="日本 \u0000 ñ"), None),
        (None, "null_value"),
        (b"", "bad_json"),
        (b"\xff\xfe", "bad_utf8"),
        (changed()[:-9], "bad_json"),
        (changed() + b"{}", "bad_json"),
        (b"[1]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"NaN", "not_an_object"),
        (b"null", "not_an_object"),
        (changed(user_id="-"), "missing:user_id"),
        (changed(user_id=None), "missing:user_id"),
        (changed(user_id=7), "wrong_type:user_id"),
        (changed(event_time="2026-11-21T12:00:00Z"), "wrong_type:event_time"),
        (changed(event_time=1.5), "wrong_type:event_time"),
        (changed(event_time=-1), "out_of_range:event_time"),
        (changed(event_time=10**17), "out_of_range:event_time"),
        (changed(event_time=10**30), "wrong_type:event_time"),
        (changed(event_type="returned"), "not_allowed:event_type"),
        (changed(quantity=0), "out_of_range:quantity"),
        (changed(quantity="3"), "wrong_type:quantity"),
        (changed(quantity=True), "wrong_type:quantity"),
        (changed(amount="12.345"), "wrong_type:amount"),
        (changed(amount="1e3"), "wrong_type:amount"),
        (changed(amount="12345678901.00"), "wrong_type:amount"),
        (changed(amount=" 1"), "wrong_type:amount"),
        (changed(amount="NaN"), "wrong_type:amount"),
        (changed(amount=[1]), "wrong_type:amount"),
        (changed(amount="-0.01"), "out_of_range:amount"),
    ],
)
def test_each_record_is_good_or_bad_for_one_reason(kernel: Kernel, value: bytes | None, reason: str | None) -> None:
    assert reason_of(kernel, value) == reason


def test_a_marker_is_a_null_value_with_the_header_and_nothing_else_is(kernel: Kernel) -> None:
    header = [{"key": "tidemark-marker", "value": b"{}"}]
    assert reason_of(kernel, None, header) == "marker"
    assert reason_of(kernel, None, [{"key": "other", "value": None}]) == "null_value"
    assert reason_of(kernel, changed(), header) is None


def test_a_bad_record_keeps_its_bytes_in_quarantine(kernel: Kernel) -> None:
    [row] = kernel.run(records([b"\xff\x00"]))[QUARANTINE].to_pylist()
    assert (row["partition"], row["offset"], row["key"], row["value"]) == (0, 0, b"k", b"\xff\x00")
    assert row["append_time"] == NOON


def test_an_expression_that_fails_on_an_event_is_null_there(shop: Domain) -> None:
    declared = {"name": "orders_by_n", "group_by": {"n": "CAST(user_id AS INTEGER)"}, "measures": {"orders": "count"}}
    view = View.model_validate(declared)
    kernel = Kernel(shop.model_copy(update={"views": {view.name: view}}))
    states = kernel.run(records([changed(user_id="7"), changed(user_id="x"), changed(user_id="8")]))[view.name]
    assert states.to_pylist() == [{"n": None, "orders": 1}, {"n": 7, "orders": 1}, {"n": 8, "orders": 1}]


def test_states_survive_transport(kernel: Kernel) -> None:
    for states in kernel.run(records([changed(), b"bad"])).values():
        assert decode(encode(states)).equals(states)


EVENTS = st.builds(
    lambda kind, user, country, page, ms, amount: {
        "event_id": f"{user}{ms}",
        "event_type": kind,
        "event_time": ms,
        "user_id": user,
        "country": country,
        **({"page": page} if page is not None else {}),
        **({"amount": f"{amount / 100:.2f}"} if amount is not None else {}),
    },
    st.sampled_from(["order", "page_view", "login"]),
    st.text(max_size=5),
    st.sampled_from(["DE", "FR", "", "é"]),
    st.none() | st.sampled_from(["/", "/a", "/b"]),
    st.integers(0, 4) | st.integers(0, 253_402_300_799_999),
    st.none() | st.integers(0, 10**12 - 1),
)
BATCHES = st.lists(EVENTS.map(lambda e: json.dumps(e).encode()) | st.none() | st.binary(max_size=8), max_size=60)


@settings(max_examples=50, deadline=None, print_blob=True)
@given(values=BATCHES, seed=st.randoms(use_true_random=False))
def test_any_split_merged_in_any_order_equals_one_call_and_plain_python(kernel: Kernel, values, seed) -> None:
    batch = records(values)
    whole = kernel.run(batch)
    at = sorted(seed.randrange(len(values) + 1) for _ in range(3))
    bounds = [0, *at, len(values)]
    parts = [kernel.run(batch.slice(a, b - a)) for a, b in itertools.pairwise(bounds)]
    seed.shuffle(parts)
    for name in kernel.names:
        merged = kernel.merge(name, [part[name] for part in parts])
        assert merged.equals(whole[name])
        assert kernel.merge(name, [merged, merged.schema.empty_table()]).equals(merged)
        left = kernel.merge(name, [kernel.merge(name, [parts[0][name], parts[1][name]]), parts[2][name]])
        right = kernel.merge(name, [parts[0][name], kernel.merge(name, [parts[1][name], parts[2][name]])])
        assert left.equals(right)
    good = [json.loads(v) for v in values if v is not None and _is_event(v)]
    for view in VIEWS:
        assert as_states(whole[view], kernel.keys(view)) == Reference(good).states(view)


def _is_event(value: bytes) -> bool:
    return value.startswith(b'{"event_id"')


def test_a_piece_of_a_batch_is_read_as_the_rows_it_holds(kernel: Kernel) -> None:
    marker = [{"key": "tidemark-marker", "value": b"T"}]
    values = [changed(country="DE" if i % 3 else "FR") if i % 5 else None for i in range(40)]
    batch = pa.concat_tables([records(values, [{"key": "kind", "value": None}]), records(values, marker)])
    for first in (0, 1, 39, 41):
        piece = batch.slice(first, 38)
        for name, states in kernel.run(pa.Table.from_pylist(piece.to_pylist(), RAW_SCHEMA)).items():
            assert kernel.run(piece)[name].equals(states), (name, first)


def test_columns_more_or_less_from_batch_to_batch_are_seen(kernel: Kernel) -> None:
    batch = records([changed(), changed()])
    for _ in range(2):
        plain = kernel.run(batch)["revenue_by_country_hour"]
        kept_apart = kernel.run(batch.append_column("part", pa.array([1, 2])), by=("part",))["revenue_by_country_hour"]
        assert (plain["orders"].to_pylist(), kept_apart["orders"].to_pylist()) == ([2], [1, 1])
        assert kernel.merge("revenue_by_country_hour", [kept_apart], by=("part",)).equals(kept_apart)
        assert kernel.merge("revenue_by_country_hour", [plain, plain])["orders"].to_pylist() == [4]


def test_extra_keys_keep_apart_what_is_given_apart(kernel: Kernel) -> None:
    batch = records([changed(), changed(country="FR"), changed()])
    pieces = pa.array([1, 1, 2], pa.int64())
    result = kernel.run(batch.append_column("piece", pieces), by=("piece",))
    orders = [(r["piece"], r["country"], r["orders"]) for r in result["revenue_by_country_hour"].to_pylist()]
    assert orders == [(1, "DE", 1), (1, "FR", 1), (2, "DE", 1)]


def test_sums_stay_exact_at_the_largest_values(kernel: Kernel) -> None:
    batch = records([changed(amount="9999999999.99")] * 1000)
    states = kernel.run(batch)["revenue_by_country_hour"]
    merged = kernel.merge("revenue_by_country_hour", [states] * 1000)
    [row] = kernel.present("revenue_by_country_hour", merged).to_pylist()
    assert (str(row["revenue"]), row["orders"]) == ("9999999999990000.00", 1_000_000)


def test_distinct_is_within_three_standard_errors(kernel: Kernel) -> None:
    for size in (1, 10, 100, 1000, 20_000):
        page_views = [changed(event_type="page_view", page="/", user_id=f"user-{i}") for i in range(size)]
        states = kernel.run(records(page_views))["visitors_by_page_minute"]
        [row] = kernel.present("visitors_by_page_minute", states).to_pylist()
        assert row["visitors"] == pytest.approx(size, rel=3 * 1.04 / 64)


def test_a_changed_definition_has_another_hash_and_generation(shop: Domain, kernel: Kernel) -> None:
    view = shop.views["revenue_by_country_hour"]
    other = view.model_copy(update={"where": "event_type = 'basket_add'"})
    changed_kernel = Kernel(shop.model_copy(update={"views": {**shop.views, view.name: other}}))
    assert changed_kernel.definition_hash(view.name) != kernel.definition_hash(view.name)
    assert changed_kernel.definition_hash(VIEWS[1]) == kernel.definition_hash(VIEWS[1])
    assert changed_kernel.generation(10) != kernel.generation(10) != kernel.generation(60)


@pytest.mark.parametrize(
    "measures",
    [
        {"a": {"sum": "CAST(user_id AS BIGINT) * CAST(user_id AS BIGINT)"}},
        {"a": {"sum": "CAST(user_id AS BIGINT) + 1"}, "b": {"sum": "CAST(user_id AS BIGINT) + 2"}},
        {"a": {"sum": "CASE WHEN CAST(user_id AS BIGINT) > 1 THEN CAST(user_id AS BIGINT) ELSE 0 END"}},
    ],
)
def test_an_expression_that_occurs_twice_and_fails_is_null_too(shop: Domain, measures: dict) -> None:
    view = View.model_validate(
        {"name": "odd", "group_by": {"n": "CAST(user_id AS BIGINT) // 10"}, "measures": measures}
    )
    kernel = Kernel(shop.model_copy(update={"views": {view.name: view}}))
    states = kernel.run(records([changed(user_id="1"), changed(user_id="oops")]))[view.name]
    assert [row["n"] for row in states.to_pylist()] == [None, 0]
    values = kernel.present(view.name, states).to_pylist()
    assert values[0]["a"] is None and values[1]["a"] is not None


def test_measures_may_be_named_like_anything_that_the_kernel_needs(shop: Domain) -> None:
    names = ["rows", "states", "whole", "presented", "parsed", "batch", "below", "piece", "value", "sum", "part"]
    measures = {name: {"avg": "amount" if i % 2 else "quantity"} for i, name in enumerate(names)}
    view = View.model_validate(
        {"name": "odd", "measures": {**measures, "h": {"quantiles": {"of": "amount", "at": [0.5]}}, "n": "count"}}
    )
    kernel = Kernel(shop.model_copy(update={"views": {view.name: view}}))
    batch = records([changed(amount="100", quantity=1), changed(amount="300", quantity=3)])
    whole = kernel.run(batch)[view.name]
    parts = [kernel.run(batch.slice(i, 1))[view.name] for i in (0, 1)]
    assert kernel.merge(view.name, parts).equals(whole)
    [row] = kernel.present(view.name, whole).to_pylist()
    assert [row[name] for name in names] == [200.0 if i % 2 else 2.0 for i in range(len(names))]
