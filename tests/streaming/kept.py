"""A log read and put as the pipeline does it, without a runner; what a store holds, and what it has to hold."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lake.kernel import Kernel, decode
from lake.log import Log
from lake.serving import Serving
from streaming.group_reader import GroupReader
from streaming.states import SegmentStates
from tests.reference import Reference


def heads(store) -> dict[int, int]:
    return {p: head.next_offset for p, head in store.snapshot().heads.items()}


def put_count(store) -> int:
    return sum(heads(store).values())


def stored(store) -> tuple[dict, dict]:
    """As `Expected`: ranges and decoded states."""
    segments = store.snapshot().segments
    ranges = {key: (s.first, s.next) for key, s in segments.items()}
    return ranges, {key: {v: decode(state) for v, state in s.states.items()} for key, s in segments.items()}


def reader(sandbox, store, **options) -> GroupReader:
    return GroupReader(sandbox.settings, sandbox.domain, store, lambda: ({}, {}), **options)


def states(sandbox, store) -> SegmentStates:
    return SegmentStates(store, Kernel(sandbox.domain), tuple(sandbox.domain.stored_views))


def next_chunk(group_reader):
    while (chunk := group_reader.poll(0.5)) is None:
        pass
    return chunk


def catch_up(sandbox, store, group_reader, putter) -> int:
    """What the pipeline does, without a runner, up to the log's end; how many chunks the store refused."""
    end, refusals = Log(sandbox.settings, sandbox.domain).end(), 0
    while heads(store) != end:
        chunk = group_reader.poll(0.1)
        if chunk is not None and putter.put(chunk):
            refusals += 1
            group_reader.close()
    return refusals


def next_segment(sandbox) -> None:
    """Wait for the clock to come to the next segment."""
    segment_ms = sandbox.settings.segment_seconds * 1000
    now = time.time_ns() // 1_000_000
    time.sleep((segment_ms - now % segment_ms + 20) / 1000)


def assert_equal(store, expected) -> None:
    ranges, found = stored(store)
    assert ranges == expected.ranges
    assert found == expected.states


def assert_answers(sandbox, acknowledged: Iterable[dict]) -> None:
    """The shop's merged answers are plain Python's of the ledger's acknowledged lines."""
    reference = Reference(line["event"] for line in acknowledged if line["kind"] == "good")
    serving = Serving(sandbox.settings, sandbox.domain)
    for view in ("revenue_by_country_hour", "visitors_by_page_minute"):
        rows = zip(*(column.to_pylist() for column in serving.answer(view).merged.columns), strict=True)
        assert {row[:2]: row[2:] for row in rows} == reference.states(view)
