"""Spark finds the events that repeat earlier ones: identities beside the data, a shuffle on (partition, identity).

Invariant: whatever the tasks, the repeats are those that one pass over the whole would find, since all events of one
identity in one partition meet in one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
from pyspark.sql import SparkSession

from jobs.carry import PARCEL, Buckets, to_parcels
from jobs.columns import spark_schema
from jobs.session import SHUFFLE_PARTITIONS
from jobs.task_files import TaskFiles
from lake.domain import Domain
from lake.duplicates import REPEATS, find_repeats
from lake.kernel import Kernel, decode
from lake.marks import placed
from lake.settings import Settings
from lake.timeline import Timeline

_IDENTITIES, _REPEATS = "_identities", "_repeats"


def repeats_in(session: SparkSession, files: TaskFiles, timeline: Timeline) -> pa.Table:
    """REPEATS among the records of raw's files, whose `timeline` is given; collected here, in the driver."""
    assert files.domain.dedup is not None
    window_ms = files.domain.dedup.segments * files.settings.segment_seconds * 1000
    found = (
        files.map(session, partial(_identify, domain=files.domain, timeline=timeline), PARCEL)
        .repartition(SHUFFLE_PARTITIONS, "bucket")
        .sortWithinPartitions("bucket")
        .mapInArrow(partial(_find, window_ms=window_ms), spark_schema(PARCEL))
    )
    return pa.concat_tables([REPEATS.empty_table(), *(decode(bytes(row.states)) for row in found.collect())])


def _identify(
    settings: Settings, records: Iterator[pa.Table], domain: Domain, timeline: Timeline
) -> Iterator[pa.RecordBatch]:
    kernel, buckets = Kernel(domain), Buckets()
    for rows in records:
        kernel.parse(rows)
        for bucket, part in buckets.split(placed(kernel.identities(), timeline), ["partition", "identity"]):
            yield from to_parcels(_IDENTITIES, bucket, part)


def _find(batches: Iterator[pa.RecordBatch], window_ms: int) -> Iterator[pa.RecordBatch]:
    parcels = (parcel for batch in batches for parcel in batch.to_pylist())
    for bucket, group in groupby(parcels, key=itemgetter("bucket")):
        whole = pa.concat_tables(decode(parcel["states"]) for parcel in group)
        yield from to_parcels(_REPEATS, bucket, find_repeats(whole, window_ms))
