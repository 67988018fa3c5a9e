"""docs/metrics.md lists what is declared, and serving counts what it answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

from lake import metrics
from lake.errors import MissingCoverage
from lake.serving import Serving
from lake.store import SpeedStore
from tests.jobs.landed import Landed
from tests.lake.served import Served

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
ROW = re.compile(r"^\| `(tidemark_\w+)` \| (\w+) \| ([\w, ]+) \| \S")
VIEW = "revenue_by_country_hour"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_page_lists_each_declared_metric_and_no_other() -> None:
    declared = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            declared[name] = (family.type, ", ".join(metric._labelnames))
            assert family.documentation.endswith(".")
    rows = [found for line in PAGE.read_text().splitlines() if (found := ROW.match(line))]
    assert len(declared) > 20
    assert {name: (kind, labels) for name, kind, labels in (row.groups() for row in rows)} == declared
    assert len(rows) == len(declared)


def test_names_tell_base_units_and_the_alerts_name_only_what_there_is() -> None:
    named = {found[1] for line in PAGE.read_text().splitlines() if (found := ROW.match(line))}
    assert all(name.endswith(("_total", "_seconds", "_events", "_offsets", "_bytes")) for name in named)
    used = set(re.findall(r"tidemark_[a-z_]+", PAGE.read_text()))
    assert {name.removesuffix("_bucket") for name in used} == named


def test_answers_are_counted_by_their_outcome(sandbox) -> None:
    landed = Landed(sandbox.settings, sandbox.domain)
    landed.events(NOON.replace(hour=11), 3000, 300)
    landed.seal(NOON)
    landed.events(NOON.replace(minute=1), 30, 100)
    served, name = Served(sandbox, landed, NOON), sandbox.domain.name

    def told(sample: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"tidemark_{sample}", {"domain": name, **labels})

    nowhere = SpeedStore(SecretStr("redis://127.0.0.1:1/0"), "generation", name)
    serving = Serving(served.settings, served.domain)
    answer = serving.answer(VIEW)
    assert told("answers_total", outcome="new") == 1
    assert told("answer_frontier_timestamp_seconds", view=VIEW) == NOON.timestamp()
    assert answer.fresh_to and told("answer_fresh_timestamp_seconds", view=VIEW) == answer.fresh_to.timestamp()
    serving._pins._store = nowhere
    assert serving.answer(VIEW).held
    other = Serving(served.settings, served.domain)
    other._pins._store = nowhere
    with pytest.raises(MissingCoverage):
        other.answer(VIEW)
    assert [told("answers_total", outcome=outcome) for outcome in ("new", "held", "missing")] == [1, 1, 1]
    assert told("answer_seconds_count") == 3
