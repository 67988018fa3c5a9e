"""A view is defined anew under load, and killed at it: every answer is right by the one definition, then by the other.

The oracle is plain Python over the producer's ledger of acknowledged records; it shares no code with the kernel.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from lake.kernel import Kernel, decode
from lake.marts import built_tiles
from lake.registry import Registry
from lake.store import stored_generations
from tests.faults.parts import SEED, Given, advance, wait_for
from tests.jobs.redefining import MINIMUM, REVENUE, VIEWS, WHERE, Plain, Redefining, declare

GRACE_SECONDS = 5


@pytest.fixture(scope="module")
def redefined(make_sandbox, tmp_path_factory) -> Iterator[Redefining]:
    """Two slices of version 1; version 2 begun, killed twice, finished; a slice of version 2."""
    print(f"\nTEST_SEED={SEED}")
    sandbox = make_sandbox(land_interval_seconds=0.5, seal_timeout_seconds=180, generation_grace_seconds=GRACE_SECONDS)
    result = Redefining(sandbox, tmp_path_factory.mktemp("redefine"))
    with result.running():
        result.build()
        declare(sandbox, WHERE[1])
        result.redefine_and_kill("reading [")
        result.goes_on()
        result.build()
        result.redefine_and_kill("its marts are built")
        result.goes_on()
        result.told = result.redefine()
        new = hashes(result)[-1]
        wait_for(lambda: answers(result, REVENUE)[-1].definition_hash == new, "answers of the new definition")
        result.goes_on()
        wait_for(lambda: _old_generation_is_let_go(result), "the old generation to be let go", 240)
    yield result


def hashes(redefined: Redefining) -> list[str]:
    versions = Registry(redefined.sandbox.settings).history(redefined.sandbox.domain.name).versions
    return [Kernel(version.domain).definition_hash(REVENUE) for version in versions]


def answers(redefined: Redefining, view: str) -> list[Given]:
    return [answer for answer in list(redefined.watch.answers) if answer.view == view]


def _old_generation_is_let_go(redefined: Redefining) -> bool:
    redefined.build()
    return len(stored_generations(redefined.sandbox.settings.store_url, redefined.sandbox.domain.name)) == 1


def test_every_answer_equals_plain_python_of_its_definition_at_its_head(redefined: Redefining, capsys) -> None:
    watch = redefined.watch
    assert watch.errors == []
    ledger = {}
    for line in redefined.ledger.read_text().splitlines():
        told = json.loads(line)
        ledger[(told["partition"], told["offset"])] = told["event"] if told["kind"] == "good" else None
    checked, definitions = 0, hashes(redefined)
    for view in VIEWS:
        plain = {found: Plain(minimum) for found, minimum in zip(definitions, MINIMUM, strict=True)}
        seen: dict[int, int] = {}
        last = None
        for answer in answers(redefined, view):
            for place in advance(seen, answer.head):
                if event := ledger.get(place):
                    for definition in plain.values():
                        definition.add(event)
            if last is None or answer.head != last.head or answer.merged != last.merged:
                definition = plain.get(answer.definition_hash, plain[definitions[0]])  # visits are the same in both
                rows = zip(*(column.to_pylist() for column in decode(answer.merged).columns), strict=True)
                assert {row[0]: row[1:] for row in rows} == definition.states(view), f"at head {answer.head}"
            checked, last = checked + 1, answer
    with capsys.disabled():
        held = sum(answer.held is not None for answer in watch.answers)
        print(f"\nseed {SEED}: {checked} answers checked of {watch.queries} queries, {held} of them held")
    assert checked == watch.queries > 200


def test_answers_go_from_the_old_definition_to_the_new_once_and_heads_never_go_back(redefined: Redefining) -> None:
    shown = [found for found, _ in itertools.groupby(a.definition_hash for a in answers(redefined, REVENUE))]
    assert shown == hashes(redefined)
    for view in VIEWS:
        for before, after in itertools.pairwise(answers(redefined, view)):
            assert all(after.head.get(p, 0) >= offset for p, offset in before.head.items())


def test_the_changed_view_alone_was_built_anew(redefined: Redefining) -> None:
    assert redefined.told["version"] == 2 and redefined.told["was_live"] == 1
    assert redefined.told["built"] == [], "the runs that were killed had built it"
    settings, name = redefined.sandbox.settings, redefined.sandbox.domain.name
    first, second = (v.domain for v in Registry(settings).history(name).versions)
    for view in VIEWS:
        spans = []
        for domain in (first, second):
            tiles = built_tiles(settings, name, view, Kernel(domain).definition_hash(view))
            spans.append([(tile.t0, tile.t1) for tile in tiles])
        assert (spans[0] == spans[1]) == (view != REVENUE)
        assert spans[1][-1][1] == redefined.slices[-1]


def test_verify_proves_the_new_definition_from_raw(redefined: Redefining) -> None:
    report = redefined.verify()
    assert (report["problems"], report["raw_gaps"], report["raw_duplicates"]) == ([], 0, 0)
    assert all(view["rows_compared"] > 0 and view["from_batch"] > 0 for view in report["views"])
