"""Reads a topic's records from given positions into Arrow: the one consumer that lander and speed layer share.

Invariant: a batch covers whole ranges [start, end) of positions, each record once and in order; a log that is not
the one the positions were made for is a named stop, never silently new or missing data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, TopicPartition

from lake.errors import LogTruncated, NotLogAppendTime, RetentionPassed
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from streaming.topic import Topic

# A consume call cannot be bounded in bytes. So few records that even at the largest size they fit in memory.
_RECORDS_A_CALL = 128
_REQUEST_SECONDS = 30
_POSITION_LOST = (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE)


@dataclass(frozen=True)
class Batch:
    """Records of several partitions (RAW_SCHEMA), covering [start[p], end[p]) of each partition p it names."""

    rows: pa.Table
    start: dict[int, int]
    end: dict[int, int]
    epochs: dict[int, int]


class LogReader:
    """A consumer of all of `positions` (partition -> next offset), kept at where the last batch ended.

    The broker may hold a slow stream's records back for `gather_seconds`, to send more at once: for a reader that is
    in no hurry, since each answer costs the broker as much as the next.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        positions: Mapping[int, int],
        epochs: Mapping[int, int] | None = None,
        gather_seconds: float = 0.0,
    ) -> None:
        self.topic = topic
        self.positions = dict(positions)
        self._epochs = dict(epochs or {})
        self._consumer: Any = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                # Required by the client, used for nothing: where to go on is known elsewhere.
                "group.id": "tidemark",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": int(gather_seconds * 1000) or 100,
                "fetch.min.bytes": 1 << 20 if gather_seconds else 1,
                # The default of a second throttles catching up five-fold.
                "fetch.queue.backoff.ms": 5,
                "queued.min.messages": 50_000,
                "queued.max.messages.kbytes": 32 << 10,
                "fetch.message.max.bytes": 4 << 20,
                "fetch.max.bytes": 16 << 20,
            }
        )
        try:
            self._check_ranges()
            self._consumer.assign(
                [
                    TopicPartition(topic.name, p, offset, leader_epoch=self._epochs.get(p, -1))
                    for p, offset in self.positions.items()
                ]
            )
        except BaseException:
            self.close()
            raise

    def poll(self, max_records: int, max_bytes: int, seconds: float) -> Batch | None:
        """What arrives within `seconds`, or sooner once a bound is reached (bytes: passed by one call at most).

        None if nothing did. Raises RetentionPassed, LogTruncated or NotLogAppendTime, and KafkaException for what may
        pass; after any of these the reader is to be closed.
        """
        deadline = time.monotonic() + seconds
        messages: list[Any] = []
        size = 0
        while len(messages) < max_records and size < max_bytes:
            left = deadline - time.monotonic()
            if left <= 0 and messages:
                break
            got = self._consumer.consume(min(_RECORDS_A_CALL, max_records - len(messages)), max(left, 0))
            for message in got:
                if message.error() is not None:
                    self._stop(message.error())
                size += len(message)
            messages += got
            if left <= 0:
                break
        return self._batch(messages) if messages else None

    def close(self) -> None:
        self._consumer.close()

    def _batch(self, messages: Sequence[Any]) -> Batch:
        partitions = [message.partition() for message in messages]
        offsets = [message.offset() for message in messages]
        end = {p: offset + 1 for p, offset in zip(partitions, offsets, strict=True)}
        start = {p: self.positions[p] for p in end}
        last = dict(zip(partitions, messages, strict=True))
        self._epochs |= {p: m.leader_epoch() for p, m in last.items() if m.leader_epoch() is not None}
        self.positions |= end
        rows = pa.Table.from_arrays(
            [
                pa.array(partitions, pa.int32()),
                pa.array(offsets, pa.int64()),
                self._append_times(messages),
                pa.array([message.key() for message in messages], pa.binary()),
                pa.array([message.value() for message in messages], pa.binary()),
                pa.array([message.headers() for message in messages], RAW_SCHEMA.field("headers").type),
            ],
            schema=RAW_SCHEMA,
        )
        return Batch(rows, start, end, {p: self._epochs.get(p, -1) for p in end})

    def _append_times(self, messages: Sequence[Any]) -> pa.Array:
        stamps = [message.timestamp() for message in messages]
        if any(kind != TIMESTAMP_LOG_APPEND_TIME for kind, _ in stamps):
            raise NotLogAppendTime(
                f"topic '{self.topic.name}' holds records whose timestamp a producer set; expected "
                "message.timestamp.type=LogAppendTime since before the first record: make the topic anew"
            )
        milliseconds = pa.array([ms for _, ms in stamps], pa.int64())
        return milliseconds.cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))

    def _check_ranges(self) -> None:
        for p, position in self.positions.items():
            asked = TopicPartition(self.topic.name, p)
            low, high = self._consumer.get_watermark_offsets(asked, timeout=_REQUEST_SECONDS)
            if position < low:
                raise RetentionPassed(
                    f"topic '{self.topic.name}' partition {p} begins at offset {low}, expected {position}: Kafka "
                    f"deleted {low - position} records that were not read; they are lost unless another copy exists. "
                    "Lengthen the topic's retention"
                )
            if position > high:
                raise LogTruncated(
                    f"topic '{self.topic.name}' partition {p} ends at offset {high}, expected at least {position}: "
                    "records that were read are gone; restore the broker's data or give the domain a new topic"
                )

    def _stop(self, error: Any) -> None:
        if error.code() in _POSITION_LOST:
            self._check_ranges()
        if error.code() == KafkaError._LOG_TRUNCATION:
            raise LogTruncated(
                f"topic '{self.topic.name}': {error.str()}: records that were read were replaced by others; "
                "give the domain a new topic"
            )
        raise KafkaException(error)
