"""Times, boundaries and vectors of offsets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake.cuts import check_boundary, count, covers, epoch_ms, format_time, lower, parse_time, segment_start, upper
from lake.errors import NotSealed


def test_a_partition_that_is_missing_counts_as_zero() -> None:
    assert upper([{0: 3}, {0: 1, 1: 5}]) == {0: 3, 1: 5}
    assert lower([{0: 3}, {0: 1, 1: 5}]) == {0: 1, 1: 0}
    assert lower([]) == {}
    assert covers({0: 3, 1: 0}, {0: 3}) and covers({0: 3}, {0: 3, 1: 0}) and not covers({0: 3}, {1: 1})
    assert count({0: 3}, {0: 5, 1: 2}) == 4


def test_a_segment_holds_its_start_and_not_its_end() -> None:
    assert segment_start(10_000, 10) == 10_000
    assert segment_start(19_999, 10) == 10_000
    assert segment_start(20_000, 10) == 20_000


def test_only_a_boundary_of_segments_can_be_a_cut() -> None:
    check_boundary(parse_time("2026-11-21T09:00:10Z"), 10)
    with pytest.raises(NotSealed, match="inside a segment of 10 s; use 2026-11-21T09:00:10Z"):
        check_boundary(parse_time("2026-11-21T09:00:11Z"), 10)


def test_times_are_utc_whatever_zone_they_are_written_in() -> None:
    assert (
        parse_time("2026-11-21T09:00:00+02:00") == parse_time("2026-11-21T07:00:00") == parse_time("20261121T070000Z")
    )
    assert format_time(datetime(2026, 11, 21, 7, 0, 0, 5000, UTC)) == "2026-11-21T07:00:00.005Z"
    assert epoch_ms(parse_time("1970-01-01T00:00:01Z")) == 1000
