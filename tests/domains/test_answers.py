"""What the shipped domains answer, against plain Python over the same invented events."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from functools import cache

import pyarrow as pa
import pytest

from lake.kernel import COUNTS, Kernel
from lake.raw_schema import RAW_SCHEMA
from tests.domains.generated import Generated, generate, time_span
from tests.reference import DOMAINS
from tests.reference.events import moment

SEED = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
VIEWS = [(name, view) for name, module in DOMAINS.items() for view in module.ROWS]
STORED = [(name, view) for name, module in DOMAINS.items() for view in module.STATES]


@pytest.fixture
def answers():
    """answers(domain): its generated events, a kernel, and the states of all of them."""
    print(f"TEST_SEED={SEED}")
    return _answers


@cache
def _answers(name: str) -> tuple[Generated, Kernel, dict[str, pa.Table]]:
    generated = generate(name, SEED)
    kernel = generated.kernel()
    generated.parse(kernel, generated.rows)
    return generated, kernel, kernel.aggregate()


@pytest.mark.parametrize(("name", "view"), STORED)
def test_the_states_are_those_of_plain_python(answers, name, view):
    generated, kernel, states = answers(name)
    keys = len(kernel.keys(view))
    rows = [tuple(row.values()) for row in states[view].to_pylist()]
    assert {row[:keys]: row[keys:] for row in rows} == DOMAINS[name].STATES[view](generated.counted)


@pytest.mark.parametrize(("name", "view"), VIEWS)
def test_the_rows_shown_are_those_of_plain_python(answers, name, view):
    generated, kernel, states = answers(name)
    shown = kernel.shown(view, kernel.present(view, states[kernel.stored(view)]), moment(0)).to_pylist()
    expected = DOMAINS[name].ROWS[view](generated.counted)
    assert expected
    declared = generated.domain.views[view]
    if not declared.order_by:
        shown, expected = (sorted(rows, key=lambda row: str(list(row.values())[:2])) for rows in (shown, expected))
    assert [list(row) for row in shown] == [list(row) for row in expected]
    off = getattr(DOMAINS[name], "APPROXIMATE", {})
    for row, wanted in zip(shown, expected, strict=True):
        for column, value in wanted.items():
            if column in off or isinstance(value, float):
                wanted[column] = pytest.approx(value, rel=off.get(column, 1e-9), abs=1e-9)
        assert row == wanted


@pytest.mark.parametrize("name", DOMAINS)
def test_any_split_merged_in_any_order_is_the_whole(answers, name):
    generated, kernel, whole = answers(name)
    rng = random.Random(SEED)
    at = sorted(rng.randrange(len(generated.rows)) for _ in range(4))
    parts = []
    for begin, end in zip([0, *at], [*at, len(generated.rows)], strict=True):
        generated.parse(kernel, generated.rows.slice(begin, end - begin))
        parts.append(kernel.aggregate())
    rng.shuffle(parts)
    for view in kernel.names:
        assert kernel.merge(view, [part[view] for part in parts]).equals(whole[view]), view


@pytest.mark.parametrize(("name", "view"), STORED)
def test_slices_of_the_states_are_merged_and_presented_as_the_whole(answers, name, view):
    _, kernel, whole = answers(name)
    states, at = whole[view], len(whole[view]) // 2
    assert kernel.merge(view, [states.slice(at), states.slice(0, at), states.slice(at, 0)]).equals(states)
    assert kernel.present(view, states.slice(at)).equals(kernel.present(view, states).slice(at))


@pytest.mark.parametrize("name", DOMAINS)
def test_bad_records_and_repeated_events_are_counted_apart(answers, name):
    generated, _, states = answers(name)
    counts = {column: pa.compute.sum(states[COUNTS][column]).as_py() for column in ("events", "good", "duplicates")}
    assert counts["events"] == len(generated.rows)
    assert counts["good"] == len(generated.counted)
    assert counts["duplicates"] == generated.repeated["duplicates"]
    assert time_span(generated) > timedelta(hours=6)
    if generated.domain.dedup:
        assert generated.repeated["duplicates"] > 50 and generated.repeated["conflicts"] > 50


@pytest.mark.parametrize(("name", "column"), [("shop", "users.country"), ("plates", "watchlist.reason")])
def test_without_its_dimension_the_answers_would_be_others(answers, name, column):
    generated, kernel, joined = answers(name)
    assert any(event[column] not in (None, event.get("country")) for event in generated.counted)
    generated.parse(kernel, generated.rows.select(RAW_SCHEMA.names))
    plain = kernel.aggregate()
    assert any(not plain[view].equals(joined[view]) for view in generated.domain.stored_views)


@pytest.mark.parametrize("name", [name for name, module in DOMAINS.items() if name in ("plates", "stocks")])
def test_without_marking_repeats_the_answers_would_be_others(answers, name):
    generated, kernel, marked = answers(name)
    plain = kernel.run(generated.rows)
    assert any(not plain[view].equals(marked[view]) for view in generated.domain.stored_views)
