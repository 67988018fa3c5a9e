"""What a build has built is published, whatever has become live meanwhile."""

from __future__ import annotations

import logging

import yaml
from airflow.sdk.execution_time.context import OutletEventAccessors

from dags.build_marts import MARTS, publish
from lake.cuts import EPOCH, format_time
from lake.domain import read_domain
from lake.kernel import QUARANTINE
from lake.registry import Registry, written
from tests.faults.parts import VIEWS

HOUR = {"action": "append", "t0": "2026-11-21T09:00:00Z", "t1": "2026-11-21T10:00:00Z", "rows": 3, "events": 50}


def test_a_view_that_was_redefined_away_between_build_and_publish_is_told_without_a_frontier(
    sandbox, monkeypatch, caplog
):
    for name, value in sandbox.environment.items():
        if name.startswith("TIDEMARK_"):
            monkeypatch.setenv(name, value)
    kept, dropped = VIEWS
    registry, declared = Registry(sandbox.settings), yaml.safe_load(written(sandbox.domain))
    registry.declare(sandbox.domain)
    declared["views"] = {kept: declared["views"][kept]}
    registry.promote(sandbox.domain.name, registry.declare(read_domain(declared, "without.yaml")).number)

    built = {"domain": sandbox.domain.name, "views": [HOUR | {"view": view} for view in VIEWS]}
    events = OutletEventAccessors()
    with caplog.at_level(logging.INFO):
        publish.function(built, outlet_events=events)
    [event] = events[MARTS].asset_alias_events
    assert event.extra["frontier"] == dict.fromkeys((kept, QUARANTINE), format_time(EPOCH))
    assert event.extra["rows"] == dict.fromkeys(VIEWS, 3)
    assert f"{dropped}: append [2026-11-21T09:00:00Z, 2026-11-21T10:00:00Z), 3 rows of 50 events; not in" in caplog.text
