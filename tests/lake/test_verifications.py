"""What a verification found is kept, whatever it found, and whoever keeps one at the same time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from lake.cli import app
from lake.store import Piece, SpeedStore
from lake.verifications import Verification, Verifications, verification_of
from lake.verify import Report, ViewReport
from tests.faults.parts import run
from tests.jobs.landed import Landed
from tests.lake.served import Served

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE = Verification("shop", NOON, 1.5, True, (), {0: 7, 3: 5_000_000_000}, 12, 0, {"domain": "shop"})


@pytest.fixture
def served(sandbox) -> Served:
    """A domain whose log, raw, marts and store agree: a tile up to noon, speed states from there on."""
    landed = Landed(sandbox.settings, sandbox.domain, seed=7)
    landed.events(NOON - timedelta(minutes=5), 300, 120)
    landed.seal(NOON)
    landed.events(NOON + timedelta(seconds=1), 8, 60)
    # The log is only asked where it begins and ends.
    producer = Producer({"bootstrap.servers": sandbox.settings.kafka_bootstrap})
    for partition, head in landed.heads.items():
        for _ in range(head):
            producer.produce(sandbox.domain.topic, b"-", partition=partition)
    assert producer.flush(30) == 0
    return Served(sandbox, landed, NOON)


def _verify(served: Served, expect: int) -> Verification:
    """What is kept of `tidemark verify`."""
    arguments = ["verify", "--domain", served.domain.name, "--json"]
    told = run(served.sandbox.environment, "lake.cli", *arguments, expect=expect)
    assert told["ok"] == (expect == 0)
    kept = Verifications(served.settings).newest(served.domain.name)
    assert kept is not None and kept.ok == (expect == 0)
    return kept


def test_verify_keeps_what_it_finds_and_that_it_cannot_find_anything(served: Served) -> None:
    exact = _verify(served, 0)
    assert (exact.heads, exact.problems, exact.mismatches, exact.verdict) == (served.head, (), 0, "exact")
    assert exact.rows_compared > 0 and exact.report is not None
    assert all("examples" not in view for view in exact.report["views"])

    kernel, settings = served.kernel, served.settings
    store = SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), served.domain.name)
    head = store.snapshot().heads[0]
    # The speed view is one record ahead of raw, in its next segment, and the lander is away.
    later = head.max_append_ms + settings.segment_seconds * 1000
    piece = Piece(later, head.next_offset, head.next_offset + 1, later, {})
    assert store.put(0, head.next_offset, [piece], "topic-1", 0)
    away = replace(served.sandbox, settings=settings.model_copy(update={"verify_timeout_seconds": 0.5}))
    run(away.environment, "lake.cli", "verify", "--domain", served.domain.name, "--json", expect=2)
    unknown = Verifications(settings).newest(served.domain.name)
    assert unknown is not None and (unknown.verdict, unknown.report) == ("unknown", None)
    assert unknown.problems[0].startswith("could not be carried out: ")

    told = run(served.sandbox.environment, "lake.cli", "verifications", "--domain", served.domain.name, "--json")
    assert [(one["ok"], bool(one["report"])) for one in told["verifications"]] == [(False, False), (True, True)]


def test_a_store_that_is_away_is_kept_as_a_problem(served: Served) -> None:
    nowhere = served.settings.model_copy(update={"store_url": type(served.settings.store_url)("redis://127.0.0.1:1/0")})
    away = replace(served.sandbox, settings=nowhere)
    told = run(away.environment, "lake.cli", "verify", "--domain", served.domain.name, "--json", expect=1)
    assert "the speed store does not answer" in told["domains"][0]["problems"][0]
    kept = Verifications(served.settings).newest(served.domain.name)
    assert kept is not None and kept.problems == tuple(told["domains"][0]["problems"]) and kept.rows_compared == 0
    run(away.environment, "lake.cli", "verify", "--domain", served.domain.name, "--no-keep", "--json", expect=1)
    assert Verifications(served.settings).newest(served.domain.name) == kept


def test_all_that_are_kept_at_once_are_there_and_the_newest_is_the_last_of_its_domain(sandbox) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"TEST_SEED={seed}")
    ones = [replace(ONE, domain=("shop", "stocks")[n % 2], at=NOON + timedelta(milliseconds=n)) for n in range(16)]
    ones[15] = replace(ones[15], ok=False, report=None, problems=("lines", "of a problem"))
    shuffled = random.Random(seed).sample(ones, len(ones))
    with ThreadPoolExecutor(8) as pool:  # the first of them make the table
        list(pool.map(Verifications(sandbox.settings).keep, shuffled))
    kept = Verifications(sandbox.settings)
    assert kept.last(100) == ones[::-1]
    assert kept.last(3, "shop") == ones[14:8:-2]
    assert (kept.newest("shop"), kept.newest("stocks"), kept.newest("plates")) == (ones[14], ones[15], None)


def test_without_any_there_is_an_empty_list(sandbox, monkeypatch) -> None:
    assert Verifications(sandbox.settings).last(5) == []
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    assert '{"verifications": []}' in CliRunner().invoke(app, ["verifications", "--json"]).output


def test_no_row_of_a_view_is_kept_and_of_many_problems_the_first() -> None:
    view = ViewReport("sales", "", {0: 1}, {0: 9}, 5, 3, 2, 1, ["served: ('alice', 3)"])
    other = ViewReport("visits", "", {}, {0: 4, 1: 6}, 2, 0, 2, 1, ["from raw: ('alice', 4)"])
    report = Report("shop", [view, other], problems=[f"problem\n{n} {'x' * 2000}" for n in range(60)])
    kept = verification_of(report, NOON, 2.0)
    assert (kept.heads, kept.rows_compared, kept.mismatches, kept.verdict) == ({0: 9, 1: 6}, 7, 2, "not exact")
    assert "alice" not in str(kept.report) and view.examples
    assert len(kept.problems) == 51 and kept.problems[-1] == "... and 10 more"
    assert all(len(problem) <= 1000 and "\n" not in problem for problem in kept.problems)
