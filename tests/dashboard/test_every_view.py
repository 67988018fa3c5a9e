"""Every view that can be declared is charted with no code: the shipped ones, and one of each odd shape."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import altair
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.layers import Values
from dashboard.view_panel import charted
from lake.domain import Domain, load_domains, parse_domain
from lake.kernel import Kernel
from lake.raw_schema import RAW_SCHEMA
from lake.serving import Answer
from lake.settings import Settings
from tests.domains.generated import generate

SEED = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ODD = """\
domain: odd
event_time: at_ms
fields:
  at_ms: {type: timestamp_ms, required: true}
  shop: {type: string}
  size: {type: integer}
  fine: {type: boolean}
views:
  all_in_one:
    measures:
      events: count
      sizes: {histogram: {of: size, bounds: [3, 6]}}
      shops: {top: {of: shop, k: 2}}
      first_seen: {min: at_ms}
      is_fine: {all: fine}
      biggest: {max: size}
  times_only:
    group_by: {shop: shop}
    measures: {seen: {max: at_ms}}
  by_number:
    group_by: {size: size}
    units: {mean: m}
    measures: {events: count, mean: {avg: size}}
  by_date:
    group_by: {day: "CAST(at_ms AS DATE)", layer: shop, series: size}
    measures: {t: count, merged: {avg: size}, shops: {top: {of: shop, k: 2}}}
    order_by: [t desc]
    limit: 3
    per: [day]
"""


@dataclass(frozen=True)
class Tables:
    """Answers from tables in memory, as Serving gives them."""

    kernel: Kernel
    states: dict[str, tuple[pa.Table, pa.Table]]

    def answer(self, view: str) -> Answer:
        stored = self.kernel.stored(view)
        batch, speed = self.states[stored]
        merged = self.kernel.merge(stored, [batch, speed])
        return Answer(view, NOON, {0: 1}, {0: 2}, None, merged, batch, speed)

    def present(self, view: str, states: pa.Table) -> pa.Table:
        return self.kernel.present(view, states)

    def values(self, answer: Answer) -> pa.Table:
        return self.kernel.shown(answer.view, self.kernel.present(answer.view, answer.merged), answer.frontier)


@cache
def _shipped(name: str) -> Tables:
    generated = generate(name, SEED)
    kernel, middle = generated.kernel(), len(generated.rows) // 2
    parts = []
    for rows in (generated.rows.slice(0, middle), generated.rows.slice(middle)):
        generated.parse(kernel, rows)
        parts.append(kernel.aggregate())
    return Tables(kernel, {view: (parts[0][view], parts[1][view]) for view in kernel.names})


@cache
def _odd() -> tuple[Domain, Tables]:
    domain = parse_domain(ODD, "odd.yaml")
    kernel = Kernel(domain)
    rows = []
    for offset in range(40):
        at = NOON + timedelta(hours=7 * offset)
        event = {"at_ms": int(at.timestamp() * 1000), "shop": ("a's", "b", None)[offset % 3], "size": offset % 9}
        event["fine"] = offset % 2 == 0
        place = {"partition": 0, "offset": offset, "append_time": NOON, "key": b"k", "headers": []}
        rows.append(place | {"value": json.dumps(event).encode()})
    batch, speed = (kernel.run(pa.Table.from_pylist(part, RAW_SCHEMA)) for part in (rows[:25], rows[25:]))
    return domain, Tables(kernel, {view: (batch[view], speed[view]) for view in kernel.names})


def _page(serving, view, answer):  # runs by itself: its text is what the page is made of
    from dashboard.view_panel import show_view

    show_view(serving, view, answer, 60)


def _check_schema(spec: dict) -> None:
    """All but the tooltips: Vega-Lite takes UTC from a scale there, which its schema does not know."""
    spec["encoding"].pop("tooltip")
    kind = altair.TopLevelLayerSpec if "layer" in spec else altair.TopLevelUnitSpec
    kind.from_dict(spec | {"data": {"name": "rows"}})


VIEWS = [(d, view) for d in load_domains(Settings().domains_dir).values() for view in d.views.values()]
VIEWS += [(_odd()[0], view) for view in _odd()[0].views.values()]


@pytest.mark.parametrize(("domain", "view"), VIEWS, ids=[f"{d.name}-{view.name}" for d, view in VIEWS])
def test_each_column_has_its_chart_and_every_row_is_in_the_table(domain, view):
    print(f"TEST_SEED={SEED}")
    tables = _odd()[1] if domain.name == "odd" else _shipped(domain.name)
    answer = tables.answer(view.name)
    shown = tables.values(answer)
    values = Values(view, shown, tables.present(view.name, answer.batch), tables.present(view.name, answer.speed))
    page = AppTest.from_function(_page, args=(tables, view, answer), default_timeout=60)
    for column in charted(values) or [None]:
        if column:
            page.session_state[f"{view.name}.measure"] = column
        page.run()
        assert not page.exception and not page.info
        charts = page.get("vega_lite_chart")
        assert bool(charts) == bool(column)
        for chart in charts:
            _check_schema(json.loads(chart.proto.spec))
            assert len(pa.ipc.open_stream(chart.proto.data.data).read_all()) > 0
    [table] = page.dataframe
    assert len(table.value) == min(len(shown), 1000) > 0
    assert list(table.value)[: len(view.group_by)] == list(view.group_by)
    assert {f"{column} batch" for column in values.columns} < set(table.value)


def test_counts_of_a_list_are_in_its_own_order_with_each_layers_part():
    domain, tables = _odd()
    answer = tables.answer("all_in_one")
    batch, speed = (tables.present("all_in_one", states) for states in (answer.batch, answer.speed))
    values = Values(domain.views["all_in_one"], tables.values(answer), batch, speed)
    assert values.lists == ["sizes", "shops"] and values.numbers == ["events", "biggest"]
    rows = [tuple(row.values()) for row in values.counts("sizes", "all").to_pylist()]
    sizes = [[offset % 9 for offset in part] for part in (range(40), range(25), range(25, 40))]
    bounds = [("3.0", -1, 3), ("6.0", 3, 6), ("above", 6, 99)]
    assert rows == [(n, *(sum(low < s <= high for s in part) for part in sizes)) for n, low, high in bounds]
    assert values.counts("shops", "all").to_pylist()[0] == {"series": "a's", "merged": 14, "batch": 9, "speed": 5}
