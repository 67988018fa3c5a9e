"""Reads a topic's records from given positions into Arrow: the one consumer that lander and speed layer share.

Invariant: a batch covers whole ranges [start, end) of positions, each record once and in order; a log that is not
the one the positions were made for is a named stop, never silently new or missing data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException

from lake.errors import LogTruncated, NotLogAppendTime, RetentionPassed
from lake.kafka_clients import GROUP, librdkafka_options
from lake.settings import Settings
from streaming.librdkafka import Consumer
from streaming.messages import Messages, compile_loops
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
        compile_loops()  # not while the first records wait
        self._consumer = Consumer(
            {
                **librdkafka_options(settings),
                "group.id": GROUP,
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
            self._consumer.assign(topic.name, self.positions, self._epochs)
        except BaseException:
            self.close()
            raise

    def poll(self, max_records: int, max_bytes: int, seconds: float) -> Batch | None:
        """What arrives within `seconds`, or sooner once a bound is reached (bytes: passed by one call at most).

        None if nothing did. Raises RetentionPassed, LogTruncated or NotLogAppendTime, and KafkaException for what may
        pass; after any of these the reader is to be closed.
        """
        deadline = time.monotonic() + seconds
        messages = Messages(max_records)
        try:
            while len(messages) < max_records and messages.bytes < max_bytes:
                left = deadline - time.monotonic()
                if left <= 0 and len(messages):
                    break
                most = min(_RECORDS_A_CALL, max_records - len(messages))
                if error := messages.take(self._consumer, most, max(left, 0)):
                    self._stop(error)
                if left <= 0:
                    break
            return self._batch(messages) if len(messages) else None
        finally:
            messages.release()

    @property
    def behind(self) -> int:
        """How many offsets there are that were not read yet, as far as this reader knows."""
        ends = {p: self._consumer.known_end(self.topic.name, p) for p in self.positions}
        return sum(max(end - self.positions[p], 0) for p, end in ends.items() if end is not None)

    def close(self) -> None:
        self._consumer.close()

    def _batch(self, messages: Messages) -> Batch:
        if not messages.are_log_append_time():
            raise NotLogAppendTime(
                f"topic '{self.topic.name}' holds records whose timestamp a producer set; expected "
                "message.timestamp.type=LogAppendTime since before the first record: make the topic anew"
            )
        end = messages.ends()
        start = {p: self.positions[p] for p in end}
        self._epochs |= messages.epochs()
        self.positions |= end
        return Batch(messages.table(), start, end, {p: self._epochs.get(p, -1) for p in end})

    def _check_ranges(self) -> None:
        for p, position in self.positions.items():
            low, high = self._consumer.watermarks(self.topic.name, p, _REQUEST_SECONDS)
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

    def _stop(self, error: KafkaError) -> None:
        if error.code() in _POSITION_LOST:
            self._check_ranges()
        if error.code() == KafkaError._LOG_TRUNCATION:
            raise LogTruncated(
                f"topic '{self.topic.name}': {error.str()}: records that were read were replaced by others; "
                "give the domain a new topic"
            )
        raise KafkaException(error)
