"""What a partition held just before an offset, from the log, and from raw where the log has forgotten it.

Invariant: what is given begins at cut(T) of the time asked for and has every record up to the offset, once, in order.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from lake.cuts import from_ms
from lake.domain import Domain
from lake.kafka_clients import GROUP, librdkafka_options
from lake.raw import Raw
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from streaming.log_reader import LogReader
from streaming.topic import TopicWatch

_REQUEST_SECONDS = 30
_MAX_RECORDS, _MAX_BYTES = 100_000, 32 << 20


class History:
    """The past of one domain's partitions."""

    def __init__(self, settings: Settings, domain: Domain) -> None:
        self._settings, self._domain = settings, domain

    def read(self, partition: int, since_ms: int, end: int) -> pa.Table:
        """The records (RAW_SCHEMA) of [cut(since), end). Raises what LogReader and Raw raise."""
        first, begin = self._first(partition, since_ms)
        if first == begin > 0:
            # The log begins here, so the time asked for may lie further back.
            return pa.concat_tables(
                [self._from_raw(partition, since_ms, min(begin, end)), self._from_log(partition, begin, end)]
            )
        return self._from_log(partition, first, end)

    def _first(self, partition: int, since_ms: int) -> tuple[int, int]:
        """(the first offset that the log has of the time or after it, the first that it has at all)."""
        consumer: Any = Consumer({**librdkafka_options(self._settings), "group.id": GROUP})
        with closing(consumer):
            asked = TopicPartition(self._domain.topic, partition, max(since_ms, 0))
            begin, end = consumer.get_watermark_offsets(asked, timeout=_REQUEST_SECONDS)
            [found] = consumer.offsets_for_times([asked], timeout=_REQUEST_SECONDS)
        return (end if found.offset < 0 else found.offset), begin

    def _from_log(self, partition: int, first: int, end: int) -> pa.Table:
        read = [RAW_SCHEMA.empty_table()]
        if first < end:
            topic = TopicWatch(self._settings, self._domain.topic).now()
            with closing(LogReader(self._settings, topic, {partition: first})) as reader:
                while reader.positions[partition] < end:
                    if batch := reader.poll(_MAX_RECORDS, _MAX_BYTES, 1.0):
                        read.append(batch.rows)
        rows = pa.concat_tables(read)
        return rows.filter(pc.less(rows["offset"], end))

    def _from_raw(self, partition: int, since_ms: int, end: int) -> pa.Table:
        raw = Raw(self._settings, self._domain)
        table = raw.await_positions({partition: end}, self._settings.seal_timeout_seconds)
        since = from_ms(since_ms)
        first = end
        wanted = (f for f in raw.files(table) if f.last_time >= since and f.may_hold({}, {partition: end}))
        for file in raw.ahead(wanted):
            rows = raw.read(file, ["partition", "offset", "append_time"])
            late = pc.greater_equal(rows["append_time"], pa.scalar(since, rows["append_time"].type))
            own = rows.filter(pc.and_(pc.equal(rows["partition"], partition), late))["offset"]
            first = min([first, *([pc.min(own).as_py()] if len(own) else [])])
        found = pa.concat_tables([RAW_SCHEMA.empty_table(), *raw.scan({partition: first}, {partition: end}, table)])
        return found.sort_by("offset")
