"""Records of raw's files, dealt out to Spark's tasks; the workers read the files themselves, by Arrow.

Through Spark's reader each record would become a JVM row and Arrow again, which costs several times what the kernel
does. Invariant: no secret travels with a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from jobs.columns import spark_schema
from jobs.session import BYTES_PER_BATCH, ROWS_PER_BATCH, with_secrets, without_secrets
from lake.cuts import Cut
from lake.domain import Domain
from lake.raw import Raw
from lake.raw_file import RawFile
from lake.settings import Settings
from lake.small_files import joined

Work = Callable[[Settings, Iterator[pa.Table]], Iterator[pa.RecordBatch]]
"""What a task makes of its records (RAW_SCHEMA), in a worker."""


@dataclass(frozen=True)
class TaskFiles:
    """The records in [start, end) of a domain's raw, as far as they are in these files: a list for each task."""

    settings: Settings
    domain: Domain
    tasks: list[list[RawFile]]
    start: Cut
    end: Cut

    def map(self, session: SparkSession, work: Work, schema: pa.Schema) -> DataFrame:
        """The rows (of `schema`) that `work` makes of each task's records."""
        run = partial(_run, files=replace(self, settings=without_secrets(self.settings)), work=work)
        count = len(self.tasks)
        return session.range(0, count, 1, count).mapInArrow(run, spark_schema(schema))


def _run(numbers: Iterator[pa.RecordBatch], files: TaskFiles, work: Work) -> Iterator[pa.RecordBatch]:
    """In a worker: the tasks with these numbers."""
    settings = with_secrets(files.settings)
    raw = Raw(settings, files.domain)
    own = [file for batch in numbers for number in batch["id"].to_pylist() for file in files.tasks[number]]
    read = (raw.stream(file, ROWS_PER_BATCH, BYTES_PER_BATCH, files.start, files.end) for file in raw.ahead(own))
    # The kernel's cost has a fixed part a call.
    yield from work(settings, joined(chain.from_iterable(read), ROWS_PER_BATCH, BYTES_PER_BATCH))
