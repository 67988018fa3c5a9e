"""What it costs in truth to let event time decide which layer counts an event, on a stream with late events.

The rivals' merge takes what happened before a time from the batch layer and the rest from the speed layer, as Chronon
does (rows since `batchEnd`) and Pinot (rows since its time boundary, a unit before the newest of the offline table).
Both layers count exactly what they are given, by the same kernel; only the seam differs. Ours is put through the marts,
the store and serving as they ship. The append times are invented, so no broker takes part.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.cuts import EPOCH, Cut, epoch_ms
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Manifest, mart_uri
from lake.raw_schema import RAW_SCHEMA
from streaming.log_reader import Batch
from streaming.pieces import split
from streaming.states import SegmentStates
from tests.bench.bench_lake import T0, BenchLake
from tests.bench.speed_events import Counts, SpeedEvents, error_of
from tests.bench.speed_stream import VIEWS, Stream, counts, new_domain

PARTITIONS, LATE = 4, 0.05
BATCH_END = T0 + timedelta(minutes=30)
_TOPIC_ID, _CHUNK = "topic-1", 20_000

SEAMS: dict[str, tuple[datetime, datetime]] = {
    "cut by event time at the batch's end": (BATCH_END, BATCH_END),
    "the same, the batch built 15 minutes later": (BATCH_END, BATCH_END + timedelta(minutes=15)),
    "cut by event time an hour before the batch's end": (BATCH_END - timedelta(hours=1), BATCH_END),
}
"""name -> (the event time from which the speed layer counts, the append time up to which the batch layer has read)."""


def measure_timecut(lake: BenchLake, events: int) -> Iterator[tuple[str, dict]]:
    """Once: the same events give the same counts, and no time is measured."""
    made = SpeedEvents(events, PARTITIONS, seed=5, late=LATE)
    columns = pa.concat_tables(made.columns())
    stream = new_domain(lake, PARTITIONS)
    answers = {"cut by offsets, at append time (ours)": _ours(stream, columns)}
    for name, (seam, read_to) in SEAMS.items():
        answers[name] = _by_event_time(stream, columns, epoch_ms(seam), epoch_ms(read_to))
    for name, answer in answers.items():
        error = error_of(answer, made.truth)
        yield (
            name,
            {
                "events": events,
                "late_share": LATE,
                "events_wrong": error.events,
                "cents_wrong": error.cents,
                "rows_wrong": error.rows,
                "error": round(error.share, 6),
            },
        )


def _ours(stream: Stream, columns: pa.Table) -> Counts:
    """A tile up to cut(BATCH_END), the speed states from there on, and what serving makes of them."""
    records = _records(columns)
    before = pc.less(columns["arrival"], epoch_ms(BATCH_END))
    cut = _heads(records.filter(before))
    kernel = Kernel(stream.domain)
    states = kernel.run(records.filter(before))
    for view in [*stream.domain.stored_views, QUARANTINE]:
        _write_tile(stream, kernel, view, states[view], cut)
    resumes = {p: stream.store.open(p, cut[p], _TOPIC_ID) for p in cut}
    put = SegmentStates(stream.store, kernel, tuple(stream.domain.stored_views))
    rest = records.filter(pc.invert(before))
    for at in range(0, len(rest), _CHUNK):
        rows = rest.slice(at, _CHUNK)
        heads = _heads(rows)
        batch = Batch(rows, {p: resumes[p].next_offset for p in heads}, heads, {})
        refused = put.put(split(batch, resumes, stream.settings.segment_seconds * 1000, _TOPIC_ID))
        assert not refused, refused
    return stream.served()


def _by_event_time(stream: Stream, columns: pa.Table, seam_ms: int, read_to_ms: int) -> Counts:
    """What the batch layer has read that happened before the seam, and all that happened from it on."""
    records, kernel = _records(columns), Kernel(stream.domain)
    happened_before = pc.less(columns["time"], seam_ms)
    read = pc.less(columns["arrival"], read_to_ms)
    batch = kernel.run(records.filter(pc.and_(happened_before, read)))
    speed = kernel.run(records.filter(pc.invert(happened_before)))
    merged = (kernel.present(view, kernel.merge(view, [batch[view], speed[view]])).to_pylist() for view in VIEWS)
    return counts(*merged)


def _records(columns: pa.Table) -> pa.Table:
    """As raw holds them: the offsets of each partition, and the arrival as the append time."""
    partition = columns["partition"].to_numpy()
    offset = np.empty(len(partition), dtype="int64")
    for p in range(PARTITIONS):
        own = partition == p
        offset[own] = np.arange(own.sum())
    arrival = columns["arrival"].cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    headers = pa.nulls(len(partition), RAW_SCHEMA.field("headers").type)
    arrays = [columns["partition"], offset, arrival, columns["user"], columns["value"], headers]
    return pa.table(arrays, schema=RAW_SCHEMA)


def _heads(records: pa.Table) -> Cut:
    rows = records.group_by("partition").aggregate([("offset", "max")]).to_pylist()
    return {row["partition"]: row["offset_max"] + 1 for row in rows}


def _write_tile(stream: Stream, kernel: Kernel, view: str, states: pa.Table, cut: Cut) -> None:
    definition = kernel.definition_hash(view)
    manifest = Manifest(
        t0=EPOCH,
        t1=BATCH_END,
        cut_start={},
        cut_end=cut,
        definition_hash=definition,
        rows=len(states),
        events=sum(cut.values()),
        good=0,
        quarantined=0,
        markers=0,
        build_id="bench",
    )
    uri = mart_uri(stream.settings, stream.domain.name, view, definition)
    stream.lake.write_tile(uri, manifest, states)
