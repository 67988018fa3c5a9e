"""Which tiles are folded: old days, older months, never the newest, and nothing is left to fold afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.cuts import EPOCH
from lake.errors import TileRefused
from lake.folds import check_fold, folded, folds_of
from lake.marts import Manifest, unbroken

START = datetime(2026, 1, 30, 22, tzinfo=UTC)
MOST = 10**9


def run_of(hours: list[int], events: int = 10) -> list[Manifest]:
    """A first tile that ends at START, then one for each number of hours."""
    run: list[Manifest] = []
    end = EPOCH
    for number, following in enumerate([START, *(timedelta(hours=h) for h in hours)]):
        t1 = following if isinstance(following, datetime) else end + following
        run.append(
            Manifest(
                t0=end,
                t1=t1,
                cut_start={0: number * events} if number else {},
                cut_end={0: (number + 1) * events},
                definition_hash="d",
                rows=2,
                events=events,
                good=events - 3,
                quarantined=2,
                markers=1,
                build_id=f"b{number}",
                announced={0: {"users": number}},
            )
        )
        end = t1
    return run


def fold_all(run: list[Manifest], most: int = MOST, as_of: datetime | None = None) -> list[Manifest]:
    tiles = list(run)
    for fold in folds_of(run, most, as_of):
        at = tiles.index(fold[0])
        assert tiles[at : at + len(fold)] == fold
        tiles[at : at + len(fold)] = [folded(fold)]
    return tiles


def ends(run: list[Manifest]) -> list[str]:
    return [f"{tile.t1:%m-%dT%H}" for tile in run]


def test_a_day_is_folded_once_it_is_past_for_a_day_and_ends_at_midnight_of_utc() -> None:
    run = run_of([1] * 51)  # up to 02-02T01
    assert ends(fold_all(run)) == ["01-31T00", "02-01T00", *ends(run)[27:]]
    assert fold_all(run)[0].t0 == EPOCH, "the first tile is of the day in which it ends"
    assert len(fold_all(run_of([1] * 49))) == 48, "of 01-31 no fold before 02-02T00, of 01-30 there is one"


def test_a_month_is_folded_after_31_days_from_days_or_from_slices() -> None:
    run = run_of([6] * 4 * 40)  # up to 03-11T22
    by_day = fold_all(run, as_of=START + timedelta(days=20))
    assert len(by_day) < len(run)
    for tiles in (run, by_day):
        assert ends(fold_all(tiles))[:3] == ["01-31T22", "02-01T22", "02-02T22"]


def test_no_fold_has_more_offsets_than_a_tile_may_have() -> None:
    tiles = fold_all(run_of([1] * 100), most=50)
    assert max(tile.events for tile in tiles) == 50
    assert fold_all(tiles, most=50) == tiles
    assert folds_of(run_of([1] * 100), most=19) == []


@given(st.lists(st.integers(1, 400), max_size=80), st.integers(1, 300), st.none() | st.integers(-500, 40_000))
def test_folding_covers_what_the_tiles_covered_and_leaves_nothing_to_fold(
    hours: list[int], most: int, later: int | None
) -> None:
    run = run_of(hours)
    as_of = None if later is None else START + timedelta(hours=later)
    tiles = fold_all(run, most, as_of)
    assert unbroken(tiles) == tiles, "they adjoin"
    assert tiles[-1] == run[-1], "the newest stays as it is"
    for name in ("rows", "events", "good", "quarantined", "markers"):
        assert sum(getattr(tile, name) for tile in tiles) == sum(getattr(tile, name) for tile in run)
    assert [tile.announced for tile in tiles] == [{0: {"users": tile.cut_end[0] // 10 - 1}} for tile in tiles]
    assert folds_of(tiles, most, as_of) == []


def test_tiles_that_somebody_else_has_committed_since_are_not_folded() -> None:
    run = run_of([1, 1])
    check_fold(run, run[:2])
    for found in (run[1:], [run[0], run[1].model_copy(update={"build_id": "again"})], [folded(run[:2])]):
        with pytest.raises(TileRefused, match="run it again"):
            check_fold(found, run[:2])
