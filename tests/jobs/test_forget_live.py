"""A subject is erased while everything runs: lander, speed layer, duplicates that are told by the log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from jobs.build_mart import Build
from jobs.forget import Forget
from lake.cuts import from_ms, segment_start
from lake.kernel import Kernel
from lake.log import Log
from lake.seal import seal
from lake.serving import Serving
from lake.store import SpeedStore
from lake.verify import verify
from tests.dimensions import test_both_layers as both
from tests.dimensions.test_both_layers import SEED, SEGMENT_SECONDS, VISITS, WINDOW_SEGMENTS, Platform

SUBJECT = "u3"


@pytest.fixture
def platform(make_sandbox, spark) -> Iterator[Platform]:
    print(f"TEST_SEED={SEED}")
    run = Platform(make_sandbox(VISITS, 3, segment_seconds=SEGMENT_SECONDS, land_interval_seconds=0.3))
    yield run
    run.close()


def test_answers_are_those_of_the_log_without_the_subject_while_all_layers_run(platform: Platform, monkeypatch) -> None:
    settings, domain = platform.sandbox.settings, platform.sandbox.domain
    platform.visit(2)
    monkeypatch.setattr(both, "USERS", [user for user in both.USERS if user != SUBJECT])
    platform.sent = [(key, value) for key, value in platform.sent if f'"{SUBJECT}"'.encode() not in value]
    own = records(platform)
    platform.visit((WINDOW_SEGMENTS + 1) * SEGMENT_SECONDS)
    t1 = from_ms(segment_start(time.time_ns() // 1_000_000, SEGMENT_SECONDS))
    platform.visit(1)
    seal(settings, domain, t1)
    first = t1 - timedelta(seconds=2 * SEGMENT_SECONDS)
    for t in (first, t1):
        build = Build(settings, domain, t, print)
        build.run(None, None)
        assert not build.refused
    platform.await_head()
    serving = Serving(settings, domain)  # as a dashboard that is open all the time
    before = serving.answer("visits_in_all")
    store = SpeedStore(settings.store_url, Kernel(domain).generation(SEGMENT_SECONDS), domain.name)
    cut = platform.raw.cut(t1)
    assert any(s.first < cut.get(p, 0) for (p, _), s in store.snapshot().segments.items())

    done = Forget(settings, domain, f"user={SUBJECT}", print).run("asked for", None, False)

    assert done.proved and done.records == own > 20 and done.later == 0
    assert done.kafka_until is not None and done.kafka_until > f"{t1 + timedelta(days=7):%Y-%m-%d}"
    assert all(s.first >= cut.get(p, 0) for (p, _), s in store.snapshot().segments.items())
    platform.visit(1)
    platform.await_head()
    expected, count = platform.reference()
    answer = serving.answer("visits_by_country")
    found = {(r["country"], r["said"]): (r["visits"], r["discount"]) for r in serving.values(answer).to_pylist()}
    assert found == expected and len(answer.batch) and len(answer.speed)
    after = serving.answer("visits_in_all")
    assert serving.values(after).to_pylist() == [{"visits": count}] and after.held is None
    assert after.batch != before.batch
    report = verify(settings, domain)
    assert report.ok, report.problems
    assert (report.raw_gaps, report.raw_duplicates) == (0, 0)
    assert records(platform) == 0


def records(platform: Platform) -> int:
    """How many records of the subject raw holds, in plain Python."""
    end = Log(platform.sandbox.settings, platform.sandbox.domain).end()
    platform.raw.await_positions(end, 60)
    values = [value for rows in platform.raw.scan({}, end) for value in rows["value"].to_pylist()]
    return sum(json.loads(value)["user"] == SUBJECT for value in values if value and value != b"bad")
