"""Segments, versions and repeated events against plain Python, on logs whose clock jumps."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pytest

from lake.duplicates import IDENTITIES, Window, find_repeats
from lake.raw_schema import RAW_SCHEMA
from lake.timeline import ANNOUNCEMENT_HEADER, announcements, survey, timeline

SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))
SEGMENT_MS = 10_000
WINDOW = 3


class Log:
    """Random records of two partitions, and what is true of each, by the definitions."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.records: list[dict] = []
        self.segments: list[int] = []
        self.versions: list[int] = []
        self.repeats: list[tuple[int, int, str]] = []
        self.identities: list[tuple[int, int, str, int]] = []
        ms, next_offset, running = 1_000_000_000, {0: 0, 1: 5}, {0: 0, 1: 0}
        announced: list[tuple[int, int, int]] = []
        before: dict[tuple[int, str], tuple[int, int]] = {}
        for _ in range(source.randint(1, 200)):
            ms += source.choice([0, 1, 500, 4000, -3000, 12_000, -15_000])
            p = source.randrange(2)
            offset, next_offset[p] = next_offset[p], next_offset[p] + 1
            running[p] = max(running[p], ms)
            segment = running[p] - running[p] % SEGMENT_MS
            self.segments.append(segment)
            self.versions.append(max([1, *(v for q, s, v in announced if q == p and s < segment)]))
            headers = []
            if source.random() < 0.1:
                version = source.randint(1, 9)
                announced.append((p, segment, version))
                told = json.dumps({"dimension": "users", "version": version}).encode()
                headers = [{"key": ANNOUNCEMENT_HEADER, "value": told}]
            at = datetime.fromtimestamp(ms / 1000, UTC)
            self.records.append(
                {"partition": p, "offset": offset, "append_time": at, "key": None, "value": b"", "headers": headers}
            )
            identity, payload = str(source.randrange(6)), source.randrange(3)
            known = before.get((p, identity))
            if known and segment - known[0] < WINDOW * SEGMENT_MS:
                self.repeats.append((p, offset, "duplicate" if known[1] == payload else "conflict"))
            before[p, identity] = (segment, payload)
            self.identities.append((p, offset, identity, payload))


@pytest.fixture(params=range(100))
def log(request: pytest.FixtureRequest) -> Log:
    print(f"TEST_SEED={SEED}")
    return Log(random.Random(SEED + request.param))


def test_every_record_has_the_segment_and_the_version_that_the_log_fixes(log: Log) -> None:
    rows = pa.Table.from_pylist(log.records, schema=RAW_SCHEMA)
    cuts = sorted({0, len(rows), *(log.source.randrange(len(rows)) for _ in range(9))})
    parts = [survey(rows.slice(first, end - first), SEGMENT_MS) for first, end in pairwise(cuts)]
    log.source.shuffle(parts)
    found = timeline(parts, announcements(rows), {0: {"users": 1}, 1: {"users": 1}})
    partition, offset = rows["partition"].to_numpy(), rows["offset"].to_numpy()
    assert found.segments(partition, offset).tolist() == log.segments
    assert found.versions("users", partition, offset).tolist() == log.versions


def test_what_follows_a_cut_goes_on_with_the_versions_before_it(log: Log) -> None:
    rows = pa.Table.from_pylist(log.records, schema=RAW_SCHEMA)
    start = {0: {"users": 1}, 1: {"users": 1}}
    highest = timeline([survey(rows, SEGMENT_MS)], announcements(rows), start).after({0: 1 << 40, 1: 1 << 40})
    for p in (0, 1):
        told = [a.version for a in announcements(rows) if a.partition == p]
        assert highest[p]["users"] == max([1, *told])


def test_windows_and_the_whole_find_the_same_repeats(log: Log) -> None:
    columns = zip(*log.identities, strict=True)
    events = pa.table([pa.array(c, f.type) for c, f in zip(columns, IDENTITIES, strict=True)], schema=IDENTITIES)
    whole = events.append_column("segment", pa.array(log.segments))
    window_ms = WINDOW * SEGMENT_MS
    assert [tuple(r.values()) for r in find_repeats(whole, window_ms).to_pylist()] == sorted(log.repeats)
    read = []
    for p in (0, 1):
        own = whole.filter(pa.compute.equal(whole["partition"], p))
        window, middle = Window(window_ms), len(own) // 2
        for part in (own.slice(0, middle), own.slice(middle)):
            read += window.mark(part.drop_columns(["segment"]), part["segment"].to_numpy(), 0).to_pylist()
    assert [tuple(r.values()) for r in read] == sorted(log.repeats)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[" * 100000,
        b'{"dimension":"u","version":Infinity}',
        b'{"dimension":"u","version":1e999}',
        b"null",
        b'{"dimension":"u","version":99999999999999999999}',
        b'{"dimension":"u","version":true}',
        b'{"version":1}',
    ],
)
def test_what_somebody_else_writes_as_an_announcement_is_none(value: bytes) -> None:
    headers = [{"key": ANNOUNCEMENT_HEADER, "value": value}]
    at = datetime.fromtimestamp(1, UTC)
    row = {"partition": 0, "offset": 0, "append_time": at, "key": None, "value": None, "headers": headers}
    assert announcements(pa.Table.from_pylist([row], schema=RAW_SCHEMA)) == []
