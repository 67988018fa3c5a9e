"""Every measure keeps its laws in the kernel, and its states and values are those of plain Python."""

from __future__ import annotations

import math
import pkgutil
import random
from itertools import permutations
from typing import Any

import pytest

import lake.measures
from lake.kernel import Kernel
from lake.measures import MEASURES, Compiled, Measure
from tests.laws.algebra import BY, broken_laws
from tests.laws.examples import EXAMPLES, PARTS, SEED, VIEW, laws_domain, packed
from tests.laws.line import LINES


def test_every_module_of_the_measures_is_a_measure_with_a_line_of_laws() -> None:
    modules = {info.name for info in pkgutil.iter_modules(lake.measures.__path__)} - {"argument", "measure"}
    assert {line.kind for line in LINES.values()} == modules == set(MEASURES)


def test_the_states_of_the_kernel_are_those_of_plain_python(whole, examples) -> None:
    assert len(examples.events) >= EXAMPLES
    found = whole.to_pylist()
    for row, expected in zip(found, examples.states(), strict=True):
        assert row == expected, f"TEST_SEED={SEED}: {examples.events[row['example']]}"


def test_the_values_of_the_kernel_are_those_of_plain_python(kernel, whole, examples) -> None:
    found = kernel.present(VIEW, whole).to_pylist()
    for row, expected in zip(found, examples.values(), strict=True):
        events = examples.events[expected.pop("example")]
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            within = max((line.within for own, line in LINES.items() if name.startswith(own)), default=0)
            assert _equal(row[name], value, within), f"TEST_SEED={SEED} {name}={row[name]}, not {value}: {events}"


def test_every_measure_keeps_every_law(domain, examples) -> None:
    assert broken_laws(Kernel, domain, examples.records, random.Random(SEED)) == {}


def _unlawful(state: str, merge: str) -> Measure:
    return Measure(summary="", compile=lambda duckdb_type, options: Compiled(state, merge))


@pytest.mark.parametrize(
    ("measure", "of", "breaks"),
    [
        (_unlawful("sum({x})", "sum({s})"), "f", {"associativity", "split and merge"}),
        (_unlawful("avg({x})", "avg({s})"), "n % 100", {"associativity", "split and merge"}),
        (_unlawful("last({x})", "last({s})"), "n", {"commutativity", "split and merge", "rerun"}),
        (_unlawful("count({x})", "count({s})"), "n", {"identity", "associativity", "split and merge"}),
    ],
    ids=["floating sum", "mean of means", "last to arrive", "count of counts"],
)
def test_negative_control_an_unlawful_measure_is_found(monkeypatch, measure, of, breaks) -> None:
    monkeypatch.setitem(MEASURES, "unlawful", measure)
    # Two and three events in every order and every order of their parts: what breaks the laws is there in any case.
    values = [(1, 0.1), (2, 0.2), (6, 0.3)]
    examples = packed(
        [
            [(part, 0, "x", n, None, f, None, None, None) for part, (n, f) in zip(parts, ordered, strict=True)]
            for count in (2, 3)
            for ordered in permutations(values, count)
            for parts in permutations(range(PARTS), count)
        ]
    )
    domain = laws_domain({"v": {"group_by": {"g": "g"}, "measures": {"m": {"unlawful": of}, "events": "count"}}})
    broken = broken_laws(Kernel, domain, examples.records, random.Random(SEED))
    assert broken.keys() == {"m"}
    assert broken["m"] >= breaks


def test_a_key_may_have_any_name(examples) -> None:
    ours = "part bucket parts e i a b k rows whole states value place pair code codes counts share n total high low s x"
    words = ours.split()
    measures = {f"own_{name}": line.declared for name, line in LINES.items()}

    def view(keys: list[str]) -> Kernel:
        return Kernel(laws_domain({"v": {"group_by": dict.fromkeys(keys, "g"), "measures": measures}}))

    kernel, usual = view(words), view([f"k{i}" for i in range(len(words))])
    states = kernel.run(examples.records, BY)["v"]
    expected = usual.run(examples.records, BY)["v"]
    assert states.rename_columns(expected.column_names).equals(expected)
    assert (
        kernel.merge("v", [states, states], BY)
        .rename_columns(expected.column_names)
        .equals(usual.merge("v", [expected, expected], BY))
    )
    values = usual.present("v", expected)
    assert kernel.present("v", states).rename_columns(values.column_names).equals(values)


def test_states_may_come_in_slices(kernel, whole) -> None:
    middle = len(whole) // 3
    parts = [whole.slice(middle), whole.slice(0, middle)]
    assert kernel.merge(VIEW, parts, BY).equals(whole)
    values = kernel.present(VIEW, whole)
    assert kernel.present(VIEW, parts[0]).equals(values.slice(middle))


def _equal(found: Any, expected: Any, within: float) -> bool:
    if isinstance(expected, float) and found is not None:
        return math.isclose(found, expected, rel_tol=within, abs_tol=1e-300)
    return found == expected
