"""Serving moves over to the promoted version when that one is not behind, and never back."""

from __future__ import annotations

import pytest
import yaml

from lake import live
from lake.domain import Domain, read_domain
from lake.kernel import Kernel, encode
from lake.live import LiveServing
from lake.registry import Registry, written
from lake.serving import Serving
from lake.sql import Prompt
from lake.store import Piece, SpeedStore
from tests.faults.parts import wait_for

VIEW = "revenue_by_country_hour"


def another(domain: Domain) -> Domain:
    content = yaml.safe_load(written(domain))
    content["views"][VIEW]["where"] = "event_type = 'order' AND amount >= 1"
    return read_domain(content, "changed.yaml")


class Speed:
    """The speed states of one version, in partition 0, all of them empty: only how far they reach counts here."""

    def __init__(self, sandbox, domain: Domain) -> None:
        kernel = Kernel(domain)
        self.hash = kernel.definition_hash(VIEW)
        self._states = {view: encode(kernel.schema(view).empty_table()) for view in domain.stored_views}
        generation = kernel.generation(sandbox.settings.segment_seconds)
        self._store = SpeedStore(sandbox.settings.store_url, generation, domain.name)
        self._store.open(0, 0, "topic-1")
        self._at = 0

    def go_to(self, offset: int) -> None:
        piece = Piece(0, 0, offset, 1, self._states)
        assert self._store.put(0, self._at, [piece], "topic-1", 0)
        self._at = offset


@pytest.fixture
def versions(sandbox, monkeypatch) -> tuple[Speed, Speed]:
    """Version 1 is live and at offset 10; version 2 is declared."""
    monkeypatch.setattr(live, "_LOOK_SECONDS", -1)
    registry = Registry(sandbox.settings)
    registry.declare(sandbox.domain)
    second = registry.declare(another(sandbox.domain))
    speeds = Speed(sandbox, sandbox.domain), Speed(sandbox, second.domain)
    speeds[0].go_to(10)
    return speeds


def test_the_promoted_version_answers_once_it_is_not_behind_what_was_shown(sandbox, versions) -> None:
    old, new = versions
    serving = LiveServing(sandbox.settings, sandbox.domain)
    first = serving.now()

    def shown() -> tuple[str, int]:
        answer = serving.answer(VIEW)
        return answer.definition_hash, answer.head[0]

    assert shown() == (old.hash, 10)
    new.go_to(12)
    assert shown() == (old.hash, 10), "not promoted"
    old.go_to(20)
    assert shown() == (old.hash, 20)
    Registry(sandbox.settings).promote(sandbox.domain.name, 2)
    assert shown() == (old.hash, 20), "the new one is behind"
    old.go_to(25)
    assert shown() == (old.hash, 25), "meanwhile the old one goes on"
    new.go_to(26)
    assert shown() == (new.hash, 26)
    old.go_to(30)
    assert shown() == (new.hash, 26)
    late = first.answer(VIEW)
    assert late.head == {0: 25} and "another version" in (late.held or "")


def test_negative_control_without_the_comparison_the_head_goes_back(sandbox, versions, monkeypatch) -> None:
    _old, new = versions
    serving = LiveServing(sandbox.settings, sandbox.domain)
    new.go_to(5)
    assert serving.answer(VIEW).head == {0: 10}
    monkeypatch.setattr(Serving, "hand_over", lambda *_: True)
    Registry(sandbox.settings).promote(sandbox.domain.name, 2)
    assert serving.answer(VIEW).head == {0: 5}


def test_what_was_never_declared_is_served_as_its_file_says(sandbox) -> None:
    speed = Speed(sandbox, sandbox.domain)
    speed.go_to(3)
    answer = LiveServing(sandbox.settings, sandbox.domain).answer(VIEW)
    assert (answer.definition_hash, answer.head) == (speed.hash, {0: 3})


def test_a_prompt_that_stays_open_sees_what_the_live_version_has(sandbox, versions) -> None:
    versions[1].go_to(10)
    prompt = Prompt(sandbox.settings, {sandbox.domain.name: sandbox.domain})
    assert prompt.query(f"SELECT * FROM {VIEW}").num_rows == 0
    registry = Registry(sandbox.settings)
    content = yaml.safe_load(registry.newest(sandbox.domain.name).content)
    content["views"][VIEW]["values"] = {"per_order": "revenue / orders"}
    registry.promote(sandbox.domain.name, registry.declare(read_domain(content, "third.yaml")).number)
    wait_for(lambda: "per_order" in prompt.query(f"SELECT * FROM {VIEW}").column_names, "the promoted version", 30)
