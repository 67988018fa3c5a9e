"""The rule of the tiling: append at the frontier, replace what is identical, refuse the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lake.cuts import EPOCH, Cut
from lake.errors import MartDamaged, TileRefused
from lake.marts import Manifest, check_tile, unbroken

CUTS: list[Cut] = [{}, {0: 10, 1: 4}, {0: 10, 1: 9}, {0: 30, 1: 9}, {0: 31, 1: 12}]


def tile(start: int, end: int, **changes: object) -> Manifest:
    """[start, end) in hours since EPOCH, with a cut for each hour."""
    fields = {
        "t0": EPOCH + timedelta(hours=start),
        "t1": EPOCH + timedelta(hours=end),
        "cut_start": CUTS[start],
        "cut_end": CUTS[end],
        "definition_hash": "d",
        "rows": 0,
        "events": 0,
        "good": 0,
        "quarantined": 0,
        "markers": 0,
        "build_id": "b",
    }
    return Manifest(**{**fields, **changes})


def test_the_first_tile_begins_at_the_epoch_and_each_other_at_the_frontier() -> None:
    assert check_tile([], tile(0, 1)) == "append"
    assert check_tile([tile(0, 1)], tile(1, 3)) == "append"
    with pytest.raises(TileRefused, match=r"does not start at the frontier .* build .* first"):
        check_tile([], tile(1, 2))
    with pytest.raises(TileRefused, match="does not start at the frontier"):
        check_tile([tile(0, 1)], tile(2, 3))


def test_a_tile_with_identical_cuts_is_replaced_wherever_it_lies() -> None:
    tiles = [tile(0, 1), tile(1, 2), tile(2, 3)]
    for same in tiles:
        assert check_tile(tiles, same.model_copy(update={"build_id": "again"})) == "replace"


@pytest.mark.parametrize(
    "new", [tile(0, 2), tile(1, 3), tile(1, 2, cut_end={0: 11, 1: 9}), tile(1, 2, cut_start={0: 9, 1: 4})]
)
def test_a_tile_that_overlaps_or_has_other_cuts_is_refused(new: Manifest) -> None:
    with pytest.raises(TileRefused, match="rebuild"):
        check_tile([tile(0, 1), tile(1, 2)], new)


def test_a_cut_that_does_not_continue_the_frontier_is_refused() -> None:
    with pytest.raises(TileRefused, match="with cut"):
        check_tile([tile(0, 1)], tile(1, 2, cut_start={0: 9, 1: 4}))


def test_tiles_of_another_definition_are_never_mixed() -> None:
    with pytest.raises(TileRefused, match="holds tiles of definition old"):
        check_tile([tile(0, 1, definition_hash="old")], tile(1, 2))


def test_the_frontier_stops_at_a_hole() -> None:
    assert unbroken([tile(2, 3), tile(0, 1)]) == [tile(0, 1)]
    assert unbroken([tile(1, 2)]) == []
    assert unbroken([tile(1, 2), tile(0, 1), tile(2, 4)])[-1].t1 == tile(2, 4).t1


def test_tiles_that_overlap_are_damage() -> None:
    for broken in (tile(0, 3), tile(1, 2, cut_start={0: 9})):
        with pytest.raises(MartDamaged, match="does not adjoin"):
            unbroken([tile(0, 1), tile(1, 2), broken] if broken.t0 == EPOCH else [tile(0, 1), broken])
