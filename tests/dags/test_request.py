"""A run names one slice between segment boundaries, or says in a sentence why it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pendulum
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from dags.request import EVERY, BadRequest, covered, read_domains, read_request, rebuilt
from lake.cuts import EPOCH
from lake.marts import Manifest
from lake.settings import Settings

SETTINGS = Settings(segment_seconds=10)
NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)


def _context(run_type: str = DagRunType.MANUAL, run_after: datetime = NINE, **params: str | None) -> dict:
    run = SimpleNamespace(run_type=run_type, run_after=run_after)
    return {"params": params, "dag_run": run, "data_interval_end": TEN}


def test_a_scheduled_run_ends_with_its_data_interval_and_starts_at_the_frontier():
    request = read_request(SETTINGS, _context(DagRunType.SCHEDULED))
    assert (request.t0, request.t1) == (None, TEN)


def test_the_times_that_airflow_gives_a_task_are_read_too():
    context = _context(DagRunType.BACKFILL) | {"data_interval_end": pendulum.datetime(2026, 11, 21, 10)}
    assert read_request(SETTINGS, context).t1 == TEN
    assert read_request(SETTINGS, _context(run_after=pendulum.datetime(2026, 11, 21, 9))).t1 == NINE


def test_a_manual_run_without_t1_ends_at_the_last_segment_boundary_before_it_was_triggered():
    run_after = NINE + timedelta(seconds=29.5)
    assert read_request(SETTINGS, _context(run_after=run_after)).t1 == NINE + timedelta(seconds=20)


def test_times_may_be_written_in_any_zone():
    request = read_request(SETTINGS, _context(t0="2026-11-21T09:00:00Z", t1="2026-11-21T11:00:00.000+01:00"))
    assert (request.t0, request.t1) == (NINE, TEN)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"t1": "soon"}, "t1='soon' is no time; write it like 2026-11-21T09:00:00Z"),
        (
            {"t1": "2026-11-21T09:00:05Z"},
            "t1=2026-11-21T09:00:05Z lies within a segment of 10 s.*00:00Z or .*00:10Z",
        ),
        ({"t1": "2026-11-21T09:00:00.000001Z"}, "lies within a segment"),
        ({"t0": "2026-11-21T09:00:00Z", "t1": "2026-11-21T09:00:00Z"}, "t0=2026-11-21T09:00:00Z is not before t1"),
    ],
)
def test_what_cannot_be_built_is_said_with_the_parameter_its_value_and_the_fix(params, message):
    with pytest.raises(BadRequest, match=message):
        read_request(SETTINGS, _context(**params))


def test_a_run_builds_the_domain_that_was_chosen_or_every_one():
    assert read_domains(["plates", "shop"], {"params": {"domain": "shop"}}) == ["shop"]
    assert read_domains(["plates", "shop"], {"params": {"domain": EVERY}}) == ["plates", "shop"]


def _tiles(*ends: datetime) -> list[Manifest]:
    starts = (EPOCH, *ends)
    counts = dict.fromkeys(("rows", "events", "good", "quarantined", "markers"), 0)
    return [
        Manifest(t0=t0, t1=t1, cut_start={}, cut_end={}, definition_hash="", build_id="", **counts)
        for t0, t1 in zip(starts, ends, strict=False)
    ]


def test_a_rerun_replaces_its_own_tile_in_every_view():
    assert rebuilt({"a": _tiles(NINE, TEN), "b": _tiles(NINE, TEN)}, TEN) == NINE
    assert rebuilt({"a": _tiles(NINE, TEN), "b": _tiles(NINE, TEN)}, NINE) == EPOCH


def test_a_retry_after_half_of_the_views_goes_on_instead_of_replacing():
    assert rebuilt({"a": _tiles(NINE, TEN), "b": _tiles(NINE)}, TEN) is None
    assert rebuilt({"a": [], "b": []}, TEN) is None


def test_a_run_whose_events_are_all_in_longer_tiles_has_nothing_to_build():
    assert covered({"a": _tiles(TEN), "b": _tiles(TEN)}, NINE)
    assert not covered({"a": _tiles(TEN), "b": []}, NINE)
    assert not covered({"a": _tiles(NINE, TEN), "b": _tiles(NINE, TEN)}, NINE)
