"""A slice that is too large for one tile is built in several: the same states, and a kill keeps what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from jobs import build_mart
from jobs.build_mart import Build
from jobs.slices import Span
from jobs.split import split
from lake.cuts import EPOCH
from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.marts import Manifest
from tests.jobs.conftest import NINE
from tests.jobs.golden import golden, snapshot, stored
from tests.jobs.landed import Landed
from tests.jobs.test_joined import sliced as visits  # noqa: F401

MOST = 450


class Killed(BaseException):
    """The end of a run at what it said last."""


def _kill_at(words: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        print(line)
        if words in line:
            raise Killed

    return say


@dataclass
class Large:
    """A domain with a dimension and a window of duplicates, built in parts; what its kernel makes of the whole."""

    visits: tuple
    parts: list[Span]
    killed: list[Manifest]
    again: Build
    present: Build

    def tiles(self, view: str = QUARANTINE) -> list[Manifest]:
        return snapshot(self.visits[0].settings, self.visits[0].domain, view).tiles


@pytest.fixture(scope="module")
def large(visits, spark) -> Large:  # noqa: F811
    """Killed at its third tile, then asked for as it was, then once more up to its end."""
    sandbox, raw, version, span, _ = visits
    settings = sandbox.settings.model_copy(update={"tile_events": MOST})
    with pytest.raises(Killed):
        Build(settings, sandbox.domain, NINE, _kill_at("tile 3 of ")).run(None, None)
    killed = snapshot(settings, sandbox.domain, QUARANTINE).tiles
    again = Build(settings, sandbox.domain, NINE, print)
    again.run(None, EPOCH)
    present = Build(settings, sandbox.domain, NINE, print)
    present.run(None, None)
    assert not again.refused + present.refused
    return Large(visits, split(raw, version, span, MOST), killed, again, present)


def test_the_tiles_are_the_parts_of_the_slice_and_their_cuts_are_raws(large: Large) -> None:
    raw = large.visits[1]
    assert len(large.parts) > 2
    tiles = large.tiles()
    assert [(t.t0, t.t1, t.cut_start, t.cut_end) for t in tiles] == [(p.t0, p.t1, p.start, p.end) for p in large.parts]
    assert all(tile.cut_end == raw.cut(tile.t1) and tile.events <= MOST for tile in tiles)


def test_the_tiles_together_hold_the_states_of_the_whole_slice(large: Large) -> None:
    sandbox, *_, expected = large.visits
    kernel = Kernel(sandbox.domain)
    for view in (name for name in kernel.names if name != COUNTS):
        pinned = snapshot(sandbox.settings, sandbox.domain, view)
        assert kernel.merge(view, pinned.states).equals(expected[view]), view
    counts = expected[COUNTS].to_pylist()
    assert sum(tile.duplicates for tile in large.tiles()) == sum(row["duplicates"] for row in counts) > 0


def test_a_run_that_was_killed_keeps_its_tiles_and_the_next_goes_on(large: Large) -> None:
    assert large.killed == large.tiles()[:2]
    for view in (QUARANTINE, "visits_in_all"):
        actions = [built.action for built in large.again.built if built.view == view]
        assert actions == ["present"] * 2 + ["append"] * (len(large.parts) - 2)
    assert {(built.action, built.t1) for built in large.present.built} == {("present", "2026-11-21T09:00:00Z")}


def test_a_build_that_is_overtaken_at_its_second_tile_says_so_and_goes_no_further(sandbox, spark, monkeypatch) -> None:
    landed, view = Landed(sandbox.settings, sandbox.domain), "revenue_by_country_hour"
    landed.events(NINE - timedelta(minutes=59), 3400, 500)
    landed.seal(NINE)
    settings = sandbox.settings.model_copy(update={"tile_events": 200})
    take_turn, turns = build_mart.take_turn, []

    def overtaken(*arguments):
        turns.append(take_turn(*arguments))
        if len(turns) == 2:
            monkeypatch.setattr(build_mart, "take_turn", take_turn)
            Build(settings, sandbox.domain, NINE, print).run([view], None)
        return turns[-1]

    monkeypatch.setattr(build_mart, "take_turn", overtaken)
    slow = Build(settings, sandbox.domain, NINE, print)
    slow.run([view], None)
    [refusal] = slow.refused
    assert "has committed to this mart since" in str(refusal)
    assert [built.t0 for built in slow.built] == ["1970-01-01T00:00:00Z"]
    tiles = snapshot(settings, sandbox.domain, view).tiles
    assert len(tiles) == 3 and tiles[-1].t1 == NINE
    assert stored(settings, sandbox.domain, [view]) == golden(settings, sandbox.domain, NINE, [view])
    smaller = sandbox.settings.model_copy(update={"tile_events": 100})
    again = Build(smaller, sandbox.domain, NINE, print)
    again.run([view], EPOCH)
    assert [built.action for built in again.built] == ["replace"] * 3, "tiles that are there stay as they are"
    rebuilt = snapshot(settings, sandbox.domain, view).tiles
    assert [tile.span for tile in rebuilt] == [tile.span for tile in tiles]
    assert len({tile.build_id for tile in [*tiles, *rebuilt]}) == 6, "a commit is known by its build's id"
    assert stored(settings, sandbox.domain, [view]) == golden(settings, sandbox.domain, NINE, [view])
