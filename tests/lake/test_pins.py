"""Where mart and speed view meet, offset for offset."""

from __future__ import annotations

import pytest

from lake.errors import MissingCoverage
from lake.pins import meet
from lake.store import Resume, StoredSegment, StoreSnapshot


def store(**partitions: list[tuple[int, int]]) -> StoreSnapshot:
    """p0=[(first, next), ...]: consecutive segments of 10 s."""
    heads, segments = {}, {}
    for name, ranges in partitions.items():
        p = int(name[1:])
        for index, (first, next_) in enumerate(ranges):
            segments[(p, index * 10_000)] = StoredSegment(first, next_, {})
        first, next_ = ranges[-1]
        heads[p] = Resume(next_, "id", 0, (len(ranges) - 1) * 10_000, 0, first)
    return StoreSnapshot(heads, segments)


def test_segments_before_the_cut_are_left_to_the_mart() -> None:
    chosen, head = meet({0: 5}, store(p0=[(0, 5), (5, 9), (9, 12)]))
    assert [segment.first for segment in chosen.values()] == [5, 9]
    assert head == {0: 12}


def test_a_partition_that_no_tile_knows_is_all_speed() -> None:
    assert meet({0: 5}, store(p0=[(5, 6)], p1=[(0, 3)]))[1] == {0: 6, 1: 3}


def test_a_speed_view_behind_the_frontier_adds_nothing_and_the_head_is_the_cut() -> None:
    chosen, head = meet({0: 9, 1: 4}, store(p0=[(0, 5)]))
    assert (chosen, head) == ({}, {0: 9, 1: 4})


@pytest.mark.parametrize(
    ("cut", "ranges", "lacks"),
    [
        ({0: 5}, [(7, 9)], r"lacks \[5, 7\)"),
        ({0: 5}, [(5, 6), (8, 9)], r"lacks \[6, 8\)"),
        ({0: 5}, [(0, 9)], r"partition 0"),
    ],
)
def test_what_neither_side_holds_is_named(cut, ranges, lacks) -> None:
    with pytest.raises(MissingCoverage, match=lacks):
        meet(cut, store(p0=ranges))
