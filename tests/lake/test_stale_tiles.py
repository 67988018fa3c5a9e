"""Which tiles an erasure makes stale: those that hold what was erased, and those that it can have repeats in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.cuts import EPOCH
from lake.domain import Domain, load_domain
from lake.marts import Manifest
from lake.raw_schema import RAW_SCHEMA
from lake.stale_tiles import counted, stale_tiles, window
from lake.stored_views import StoredVersion, StoredView
from lake.subject_records import SubjectRecords

SECONDS = 60
HERE = Path(__file__).parents[1]
TIMES = [EPOCH + timedelta(seconds=SECONDS * n) for n in range(6)]


def found(markers: list[int]) -> SubjectRecords:
    nothing = RAW_SCHEMA.empty_table()
    return SubjectRecords(
        nothing, nothing.select(["partition", "offset", "append_time"]), 0, None, 0, {0: np.array(sorted(markers))}
    )


def version(domain: Domain) -> StoredVersion:
    """One view of five tiles, a segment and ten offsets each; the third counts one marker, the others none."""
    tiles = [
        Manifest(
            t0=TIMES[n], t1=TIMES[n + 1], cut_start={0: 10 * n} if n else {}, cut_end={0: 10 * n + 10},
            definition_hash="h", rows=1, events=10, good=10, quarantined=0, markers=int(n == 2), build_id=str(n),
        )
        for n in range(5)
    ]  # fmt: skip
    return StoredVersion(domain, "g", True, [StoredView("v", "s3://b/v", tiles)])


@pytest.mark.parametrize(
    ("name", "markers", "expected"),
    [
        ("shop", [25], []),  # as it was built
        ("shop", [25, 29], [2]),
        ("shop", [25, 9, 10], [1, 0]),
        ("visits", [25, 9], [2, 1, 0]),  # a window of two segments reaches into the next two
        ("visits", [25, 49], [4]),
    ],
)
def test_a_tile_is_stale_if_it_counts_too_few_markers_or_lies_in_the_window_of_one(name, markers, expected):
    folder = HERE / "dimensions" if name == "visits" else HERE.parent / "lake" / "domains"
    tiles = stale_tiles(version(load_domain(name, folder)), found(markers), SECONDS)
    assert list(tiles) == [(TIMES[n], TIMES[n + 1]) for n in expected]
    assert counted([tiles]) == ({"v": len(expected)} if expected else {})


def test_markers_are_counted_between_cuts_half_open():
    markers = found([0, 9, 10, 19])
    assert [markers.markers_in({0: n}, {0: n + 10}) for n in (0, 10, 20)] == [2, 2, 0]
    assert markers.markers_in({}, {0: 10, 1: 5}) == 2
    assert not markers.holds({}, {0: 100})


def test_places_say_which_tiles_hold_what_was_erased():
    own = pa.Table.from_pylist([{"partition": 1, "offset": 5}], RAW_SCHEMA)
    records = SubjectRecords(own, own[:0].select(["partition", "offset", "append_time"]), 0, None, 0, {})
    assert records.holds({1: 5}, {1: 6}) and not records.holds({1: 6}, {1: 9}) and not records.holds({}, {0: 9})


def test_the_window_is_that_of_the_domain():
    assert window(load_domain("visits", HERE / "dimensions"), SECONDS) == timedelta(minutes=2)
