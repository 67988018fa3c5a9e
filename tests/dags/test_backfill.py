"""A backfill of past slices gives the table that building them in time order gives, in whatever order its runs come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from lake.cuts import EPOCH, format_time
from lake.kernel import Kernel
from lake.raw import Raw
from tests.conftest import Sandbox
from tests.dags.past import VIEW, check_tiles, land_past, last_ends, mart, one_view, views_of
from tests.faults.parts import run

FORWARDS, BACKWARDS, MIXED = [0, 1, 2], [2, 1, 0], [1, 0, 2]


@dataclass(frozen=True)
class Backfilled:
    """A domain, the ends of its past slices, and of each run in turn what it told the job; None if it was skipped."""

    sandbox: Sandbox
    ends: list[datetime]
    told: list[list[str] | None]


@pytest.fixture(scope="module")
def backfilled(make_sandbox, tmp_path_factory, airflow_environment) -> Iterator[dict[str, Backfilled]]:
    """By order. All are built by one process, in one Spark session, so they share a bucket and a folder."""
    folder, ends = tmp_path_factory.mktemp("declared"), last_ends(len(FORWARDS))
    # Once each slice has a tile, a second backfill over them.
    orders = {"forwards": FORWARDS + BACKWARDS, "backwards": BACKWARDS, "mixed": MIXED}
    made = {name: make_sandbox(base=one_view(folder), partitions=2) for name in orders}
    settings = made["forwards"].settings
    calls = []
    for name, order in orders.items():
        file = f"{made[name].domain.name}.yaml"
        (settings.domains_dir / file).write_text((made[name].settings.domains_dir / file).read_text())
        made[name] = Sandbox(settings, made[name].domain)
        land_past(made[name], ends, events=40).seal(datetime.now(UTC))
        calls += [{"domain": made[name].domain.name, "t1": format_time(ends[n]), "dag": True} for n in order]
    environment = made["forwards"].environment | airflow_environment
    run(environment, "tests.dags.build_slices", str(folder / "told"), *map(json.dumps, calls))
    told = iter(json.loads((folder / "told").read_text()))
    yield {name: Backfilled(made[name], ends, [next(told) for _ in order]) for name, order in orders.items()}


def test_a_backfill_makes_a_tile_of_each_slice_with_the_states_of_just_its_records(backfilled) -> None:
    done = backfilled["forwards"]
    assert check_tiles(done.sandbox, done.ends) > len(done.ends)
    assert [f"--t1 {format_time(t)}" for t in done.ends] == [" ".join(told[2:]) for told in done.told[: len(FORWARDS)]]


def test_backwards_over_tiles_that_are_there_each_run_replaces_its_own(backfilled) -> None:
    done = backfilled["forwards"]
    spans = list(zip([EPOCH, *done.ends], done.ends, strict=False))
    name = done.sandbox.domain.name
    assert done.told[len(FORWARDS) :] == [
        ["--domain", name, "--t0", format_time(t0), "--t1", format_time(t1)] for t0, t1 in reversed(spans)
    ]


@pytest.mark.parametrize(("order", "tiles"), [("backwards", [BACKWARDS[0]]), ("mixed", [1, 2])])
def test_in_another_order_over_nothing_the_states_are_those_of_time_order(backfilled, order, tiles) -> None:
    """A slice reaches back to the frontier, so one that comes early holds those before it, which then are skipped."""
    done = backfilled[order]
    assert check_tiles(done.sandbox, [done.ends[n] for n in tiles]) > 0
    assert sum(told is not None for told in done.told) == len(tiles)
    first, raw = backfilled["forwards"], Raw(done.sandbox.settings, done.sandbox.domain)
    for view in views_of(done.sandbox):
        assert _states(done, view).equals(_states(first, view))
        assert mart(done.sandbox, view).cut == mart(first.sandbox, view).cut == raw.cut(done.ends[-1])
    assert _states(done, VIEW).num_rows > 0


def _states(done: Backfilled, view: str):
    return Kernel(done.sandbox.domain).merge(view, mart(done.sandbox, view).states)
