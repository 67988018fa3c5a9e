"""The examples through a Beam pipeline, as the speed layer carries a log: chunks, the kernel, the store's states.

A partition holds a thousand examples side by side, and its views are by example; only Kafka is left out. What puts the
chunks is the speed job's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from lake.domain import Domain
from lake.kernel import Kernel, decode
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from streaming.log_reader import Batch
from streaming.pieces import Chunk, split
from streaming.pipeline import PutStates, speed_store
from streaming.prism import prism

TOPIC_ID = "laws"
TURN = "turn"
"""The column of a record that says which event of its example it is."""
_TOGETHER = 1000


@dataclass(frozen=True)
class Arrangement:
    """How many events of each example are in a chunk, and how many (a second apart) in a segment."""

    chunk_events: int
    segment_seconds: int

    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"segment_seconds": self.segment_seconds})


def side_by_side(records: pa.Table) -> pa.Table:
    """The examples' records as a log (RAW_SCHEMA, TURN): the first event of each of a thousand examples, the second of
    each, and so on in one partition; the next thousand are another.
    """
    block = pc.divide(records["example"], _TOGETHER)
    log = records.append_column(TURN, records["offset"]).set_column(0, "partition", block.cast(pa.int32()))
    log = log.sort_by([("partition", "ascending"), (TURN, "ascending"), ("example", "ascending")])
    lengths = pc.value_counts(log["partition"]).field("counts").to_numpy()
    offsets = np.concatenate([np.arange(length) for length in lengths])
    log = log.set_column(1, "offset", pa.array(offsets, pa.int64()))
    return log.select([*RAW_SCHEMA.names, TURN])


class ReadExamples(beam.DoFn):
    """A partition -> its chunks, in the order of the log."""

    def __init__(self, settings: Settings, domain: Domain, file: Path, chunk_events: int) -> None:
        self._settings, self._domain, self._file, self._chunk_events = settings, domain, file, chunk_events

    def process(self, partition: int) -> Iterator[Chunk]:
        rows = pq.read_table(self._file, filters=[("partition", "==", partition)])
        store = speed_store(self._settings, self._domain, Kernel(self._domain))
        resumes = {partition: store.open(partition, 0, TOPIC_ID)}
        numbers = pc.divide(rows[TURN], self._chunk_events)
        rows = rows.select(RAW_SCHEMA.names).cast(RAW_SCHEMA)
        for number in sorted(pc.unique(numbers).to_pylist()):
            batch = _batch(rows.filter(pc.equal(numbers, number)))
            yield split(batch, resumes, self._settings.segment_seconds * 1000, TOPIC_ID)


def _batch(rows: pa.Table) -> Batch:
    bounds = rows.group_by("partition").aggregate([("offset", "min"), ("offset", "max")]).to_pylist()
    start = {row["partition"]: row["offset_min"] for row in bounds}
    return Batch(rows, start, {row["partition"]: row["offset_max"] + 1 for row in bounds}, {})


def carry(settings: Settings, domain: Domain, file: Path, partitions: int, arrangements: list[Arrangement]) -> None:
    """One pipeline that puts the states of the log in `file`, once for each arrangement."""
    with (
        prism(settings.prism_binary) as chosen,
        beam.Pipeline(options=PipelineOptions([*chosen, "--job_server_timeout=86400"])) as pipeline,
    ):
        starts = pipeline | beam.Create(range(partitions), reshuffle=False)
        for arrangement in arrangements:
            own, name = arrangement.settings(settings), str(arrangement)
            generation = Kernel(domain).generation(own.segment_seconds)
            read = beam.ParDo(ReadExamples(own, domain, file, arrangement.chunk_events))
            put = beam.ParDo(PutStates(partial(arrangement.settings, settings), domain, generation))
            counted = starts | f"read {name}" >> read | f"put {name}" >> put
            _ = counted | f"group {name}" >> beam.GroupByKey()  # without one Prism spins


def stored(settings: Settings, domain: Domain, view: str, arrangement: Arrangement) -> list[pa.Table]:
    """The states of every segment, as they stand in the store."""
    snapshot = speed_store(arrangement.settings(settings), domain, Kernel(domain)).snapshot()
    return [decode(segment.states[view]) for segment in snapshot.segments.values()]


def forget(settings: Settings, domain: Domain, arrangement: Arrangement) -> None:
    """Make room in the store for the next examples."""
    speed_store(arrangement.settings(settings), domain, Kernel(domain)).forget()
