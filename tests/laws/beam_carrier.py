"""The examples through a Beam pipeline, as the speed layer carries a log: chunks, the kernel, the store's states.

Every example is a partition, its events the log; only Kafka is left out. What puts the chunks is the speed job's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
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
EXAMPLES_TOGETHER = 1000


@dataclass(frozen=True)
class Arrangement:
    """How many events of an example are in a chunk, and how many (a second apart) in a segment."""

    chunk_events: int
    segment_seconds: int

    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"segment_seconds": self.segment_seconds})


class ReadExamples(beam.DoFn):
    """First example of a thousand -> the chunks of all of them, in the order of the log."""

    def __init__(self, settings: Settings, domain: Domain, file: Path, chunk_events: int) -> None:
        self._settings, self._domain, self._file, self._chunk_events = settings, domain, file, chunk_events

    def process(self, first: int) -> Iterator[Chunk]:
        inside = [("example", ">=", first), ("example", "<", first + EXAMPLES_TOGETHER)]
        rows = pq.read_table(self._file, columns=[*RAW_SCHEMA.names, "example"], filters=inside)
        rows = rows.select(RAW_SCHEMA.names).cast(RAW_SCHEMA)
        store = speed_store(self._settings, self._domain, Kernel(self._domain))
        resumes = {p: store.open(p, 0, TOPIC_ID) for p in pc.unique(rows["partition"]).to_pylist()}
        numbers = pc.divide(rows["offset"], self._chunk_events)
        for number in sorted(pc.unique(numbers).to_pylist()):
            batch = _batch(rows.filter(pc.equal(numbers, number)))
            yield split(batch, resumes, self._settings.segment_seconds * 1000, TOPIC_ID)


def _batch(rows: pa.Table) -> Batch:
    bounds = rows.group_by("partition").aggregate([("offset", "min"), ("offset", "max")]).to_pylist()
    start = {row["partition"]: row["offset_min"] for row in bounds}
    return Batch(rows, start, {row["partition"]: row["offset_max"] + 1 for row in bounds}, {})


def carry(settings: Settings, domain: Domain, file: Path, examples: int, arrangements: list[Arrangement]) -> None:
    """One pipeline that puts all the examples' states, once for each arrangement."""
    with prism(settings.prism_binary) as address:
        options = ["--runner=PrismRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK"]
        with beam.Pipeline(options=PipelineOptions([*options, "--job_server_timeout=86400"])) as pipeline:
            starts = pipeline | beam.Create(range(0, examples, EXAMPLES_TOGETHER), reshuffle=False)
            for arrangement in arrangements:
                own, name = arrangement.settings(settings), str(arrangement)
                generation = Kernel(domain).generation(own.segment_seconds)
                read = beam.ParDo(ReadExamples(own, domain, file, arrangement.chunk_events))
                put = beam.ParDo(PutStates(own, domain, generation))
                counted = starts | f"read {name}" >> read | f"put {name}" >> put
                _ = counted | f"group {name}" >> beam.GroupByKey()  # without one Prism spins


def stored(settings: Settings, domain: Domain, view: str, arrangement: Arrangement) -> pa.Table:
    """The states of every segment of every example, as they stand in the store, with a column `example`."""
    kernel = Kernel(domain)
    snapshot = speed_store(arrangement.settings(settings), domain, kernel).snapshot()
    tables = [kernel.schema(view).empty_table().add_column(0, "example", pa.array([], pa.int64()))]
    for (partition, _), segment in snapshot.segments.items():
        states = decode(segment.states[view])
        tables.append(states.add_column(0, "example", pa.array([partition] * len(states), pa.int64())))
    return pa.concat_tables(tables)


def forget(settings: Settings, domain: Domain, arrangement: Arrangement) -> None:
    """Make room in the store for the next examples."""
    speed_store(arrangement.settings(settings), domain, Kernel(domain)).forget()
