"""What measures take and refuse, and their values where the laws' small examples do not reach."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest

from lake.domain import Domain, read_domain
from lake.errors import BadDomain
from lake.kernel import Kernel
from lake.measures import MEASURES
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOCUMENT = Settings().domains_dir.parents[1] / "docs" / "measures.md"


def declared(**measures: object) -> Domain:
    types = {"n": "integer", "d": "decimal(18,4)", "f": "double", "s": "string", "b": "boolean", "w": "list(string)"}
    fields = {name: {"type": kind} for name, kind in types.items()}
    view = {"measures": {"events": "count"} | measures}
    return read_domain(
        {"domain": "one", "event_time": "append_time", "fields": fields, "views": {"v": view}}, "one.yaml"
    )


def value(events: list[dict], measure: object, column: str = "m", times: int = 1) -> object:
    """One measure's value over events; their states merged `times` over."""
    kernel = Kernel(declared(m=measure))
    values = [json.dumps(event).encode() for event in events]
    rows = [
        {"partition": 0, "offset": i, "append_time": NOON, "key": None, "value": v, "headers": []}
        for i, v in enumerate(values)
    ]
    states = kernel.run(pa.Table.from_pylist(rows, schema=RAW_SCHEMA))["v"]
    [row] = kernel.present("v", kernel.merge("v", [states] * times)).to_pylist()
    return row[column]


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ({"sum": "f"}, r"sum needs an integer or decimal, found DOUBLE, and floating .*CAST\(x AS DECIMAL\(18, 6\)\)"),
        ({"avg": "f"}, r"avg needs an integer or decimal, found DOUBLE"),
        ({"variance": "f"}, r"variance needs an integer or decimal, found DOUBLE"),
        ({"stddev": "n / 2"}, r"stddev needs an integer or decimal, found DOUBLE"),
        (
            {"variance": "d * n"},
            r"at most 18 digits, found DECIMAL\(37,4\); cast it, as in CAST\(x AS DECIMAL\(18, 4\)",
        ),
        ({"sum": "s"}, r"sum needs an integer or decimal, found VARCHAR; cast it"),
        ({"sum": "b"}, r"sum needs an integer or decimal, found BOOLEAN; cast it"),
        ({"min": "w"}, r"min needs a string, .*found VARCHAR\[\]; take it apart with 'each'"),
        ({"max": "w"}, r"max needs a string, .*found VARCHAR\[\]; take it apart with 'each'"),
        ({"distinct": "w"}, r"distinct needs a string, .*take it apart"),
        ({"top": "w"}, r"top needs a string, .*take it apart"),
        ({"distinct_exact": "w"}, r"distinct_exact needs a string, .*take it apart"),
        ({"max": "CAST(n AS HUGEINT)"}, r"max needs .*, found HUGEINT; cast it, as in CAST\(x AS BIGINT\)"),
        ({"first": "to_days(1)"}, r"first needs a string, .*found INTERVAL"),
        ({"any": "n"}, r"any needs a condition, found BIGINT; compare it, as in x > 0"),
        ({"all": "s"}, r"all needs a condition, found VARCHAR"),
        ({"quantiles": {"of": "s", "at": [0.5]}}, r"quantiles needs a number, found VARCHAR; cast it"),
        ({"histogram": {"of": "s", "bounds": [1]}}, r"histogram needs a number, found VARCHAR; cast it"),
        ({"quantiles": "n"}, r"'quantiles': option 'at': is missing"),
        ({"quantiles": {"of": "n", "at": [1.5]}}, r"option 'at': expected shares between 0 and 1"),
        ({"quantiles": {"of": "n", "at": [0.5], "att": 1}}, r"option 'att': unknown key; did you mean 'at'"),
        ({"histogram": {"of": "n", "bounds": [2, 1]}}, r"option 'bounds': expected ascending numbers"),
        ({"top": {"of": "s", "k": 0}}, r"option 'k': expected at least 1, found 0"),
    ],
    ids=str,
)
def test_an_argument_or_option_that_does_not_fit_is_refused_with_the_fix(measure: dict, said: str) -> None:
    with pytest.raises(BadDomain, match=said):
        Kernel(declared(m=measure))


@pytest.mark.parametrize("kind", ["first", "last"])
@pytest.mark.parametrize("of", ["n", "d", "f", "s", "b", "w", "append_time", "CAST(append_time AS DATE)"])
def test_first_and_last_take_every_type_of_field(kind: str, of: str) -> None:
    event = {"n": 1, "d": "2.5", "f": 0.5, "s": "x", "b": True, "w": ["a"]}
    kept = {**event, "d": Decimal("2.5"), "append_time": NOON, "CAST(append_time AS DATE)": NOON.date()}
    assert value([event], {kind: of}) == kept[of]


def test_the_sum_of_a_product_counts_what_has_28_digits_and_never_overflows() -> None:
    huge = {"n": 2**63 - 1, "d": "99999999999999.9999"}
    assert value([huge, {"n": 2, "d": "1.5"}], {"sum": "n * d"}, times=1000) == Decimal("3000")
    assert value([huge], {"sum": "n"}, times=1000) == (2**63 - 1) * 1000


def test_the_variance_is_exact_where_doubles_would_cancel() -> None:
    for smallest in (-(2**63), 2**63 - 3, 10**15, -2, 0):
        numbers = [smallest, smallest + 1, smallest + 2]
        assert value([{"n": n} for n in numbers], {"variance": "n"}) == 1
        assert value([{"n": n} for n in numbers], {"variance": "n"}, times=10) == pytest.approx(20 / 29, rel=1e-15)
    money = [{"d": "99999999999999.9998"}, {"d": "99999999999999.9999"}]
    assert value(money, {"variance": "d"}) == 5e-9
    assert value([{"n": -(2**63)}, {"n": 2**63 - 1}], {"stddev": "n"}) == pytest.approx(2**64 / math.sqrt(2))
    assert value([{"n": 5}], {"variance": "n"}) is None


def test_quantiles_hold_whole_numbers_below_128_exactly() -> None:
    numbers = list(range(-127, 128))
    for share in (0.25, 0.5, 0.9):
        rank = math.ceil(Fraction(str(share)) * len(numbers))
        found = value([{"n": n} for n in numbers], {"quantiles": {"of": "n", "at": [share]}}, f"m_p{share * 100:.0f}")
        assert found == numbers[rank - 1]


def test_quantiles_are_named_by_their_percentage() -> None:
    view = declared(m={"quantiles": {"of": "n", "at": [0.5, 0.99, 0.999, 0.0001]}}).views["v"]
    assert view.value_columns() == ["events", "m_p50", "m_p99", "m_p99_9", "m_p0_01"]


def test_a_histograms_bound_belongs_to_the_bucket_below_it() -> None:
    events = [{"n": n, "d": str(n), "f": n} for n in (-1, 0, 1, 2, 3)]
    for of in ("n", "d", "f"):
        counts = value(events, {"histogram": {"of": of, "bounds": [0, 1.5, 2]}})
        assert counts == [
            {"up_to": 0.0, "count": 2},
            {"up_to": 1.5, "count": 1},
            {"up_to": 2.0, "count": 1},
            {"up_to": None, "count": 1},
        ]


def test_top_puts_values_of_equal_counts_in_the_order_of_their_text() -> None:
    events = [{"s": s} for s in ("b", "a", "c", "c", "É")]
    assert value(events, {"top": {"of": "s", "k": 3}}, times=2) == [
        {"value": "c", "count": 4},
        {"value": "a", "count": 2},
        {"value": "b", "count": 2},
    ]


def test_every_measure_is_documented() -> None:
    text = DOCUMENT.read_text()
    for name, measure in MEASURES.items():
        assert f"\n| `{name}` |" in text, f"{DOCUMENT} does not tell of '{name}': {measure.summary}"
