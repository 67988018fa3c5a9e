"""A topic's record batches as they are on the wire, for who appends or compares millions of records at a time.

Records one by one are the business of lake.log and, where there are many, of librdkafka (streaming/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError, for_code
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.producer import ProduceRequest

from lake.errors import TidemarkError
from lake.fillers import Batch, batches
from lake.kafka_clients import kafka_python_options
from lake.settings import Settings
from lake.waiting import wait_until

_FETCH_BYTES = 16 << 20
_REQUEST_MS, _WAIT_MS = 30_000, 1_000
_PATIENCE_SECONDS, _PAUSE_SECONDS = 60, 0.5
# Later versions name a topic by its id alone.
_PRODUCE_VERSION, _FETCH_VERSION = 9, 12
_ALL = -1


class BatchClient(KafkaAdminClient):
    """Appends batches to a topic and reads them back, from each partition's leader. To be closed."""

    def __init__(self, settings: Settings, topic: str) -> None:
        super().__init__(**kafka_python_options(settings))
        self._topic = topic

    def append(self, partition: int, batch: bytes) -> int:
        """The offset that the broker gave the batch's first record, acknowledged by all replicas in sync.

        Raises KafkaError: then the batch may have been appended, or may be yet.
        """
        Topic = ProduceRequest.TopicProduceData
        data = Topic.PartitionProduceData(index=partition, records=batch)
        request = ProduceRequest(
            transactional_id=None,
            acks=_ALL,
            timeout_ms=_REQUEST_MS,
            topic_data=[Topic(name=self._topic, partition_data=[data])],
            max_version=_PRODUCE_VERSION,
        )
        answer = self._asked(partition, request).responses[0].partition_responses[0]
        if answer.error_code:
            raise for_code(answer.error_code)(answer.error_message or f"{self._topic} partition {partition}")
        return answer.base_offset

    def read(self, partition: int, start: int, end: int) -> Iterator[Batch]:
        """The batches with offsets in [start, end), in order; the first and the last may reach beyond.

        What a transaction has left open or given up is among them. `end` must not be beyond the log's end.
        """
        while start < end:
            found = wait_until(
                partial(self._fetched, partition, start),
                _PATIENCE_SECONDS,
                _PAUSE_SECONDS,
                partial(self._silent, partition, start),
            )
            for batch in found:
                if start < end and batch.end > start:
                    yield batch
                    start = batch.end

    def _silent(self, partition: int, start: int) -> TidemarkError:
        return TidemarkError(
            f"topic '{self._topic}' partition {partition} gives no records from offset {start} on; "
            "are enough brokers up?"
        )

    def _fetched(self, partition: int, start: int) -> list[Batch] | None:
        Topic = FetchRequest.FetchTopic
        wanted = Topic.FetchPartition(
            partition=partition,
            current_leader_epoch=-1,
            fetch_offset=start,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=_FETCH_BYTES,
        )
        request = FetchRequest(
            replica_id=-1,
            max_wait_ms=_WAIT_MS,
            min_bytes=1,
            max_bytes=_FETCH_BYTES,
            isolation_level=0,
            session_id=0,
            session_epoch=-1,
            topics=[Topic(topic=self._topic, partitions=[wanted])],
            forgotten_topics_data=[],
            rack_id="",
            max_version=_FETCH_VERSION,
        )
        answer = self._asked(partition, request).responses[0].partitions[0]
        if answer.error_code:
            error = for_code(answer.error_code)
            if issubclass(error, RetriableError):
                return None
            raise error(f"{self._topic} partition {partition} from offset {start} on")
        return list(batches(bytes(answer.records or b""))) or None

    def _asked(self, partition: int, request: Any) -> Any:
        async def ask() -> Any:
            leaders: Mapping[int, object] = await self._async_get_leader_for_partitions(
                [TopicPartition(self._topic, partition)]
            )
            [leader] = leaders
            return await self._manager.send(request, node_id=leader)

        return self._manager.run(ask)
