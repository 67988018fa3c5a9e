"""A Kafka consumer by librdkafka's own C interface, the library that confluent-kafka brings along.

confluent-kafka makes a Python object of each record, which costs more than all else that is done to read it. Here a
record stays what the library keeps, an address, until `streaming.messages` copies it into Arrow.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

# A handle on the extension module finds the symbols of what it is linked with, wherever that lies.
_library = ctypes.CDLL(cimpl.__file__)

ADDRESS = c_int64
"""A pointer, as the number it is."""
_CONSUMER = 1
_ERROR_BYTES = 512


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """One of librdkafka's functions, which lets other threads run while it does."""
    found = getattr(_library, name)
    found.restype, found.argtypes = result, arguments
    return found


_conf_new = function("rd_kafka_conf_new", ADDRESS)
_conf_set = function("rd_kafka_conf_set", c_int, ADDRESS, c_char_p, c_char_p, c_char_p, c_size_t)
_conf_destroy = function("rd_kafka_conf_destroy", None, ADDRESS)
_new = function("rd_kafka_new", ADDRESS, c_int, ADDRESS, c_char_p, c_size_t)
_destroy = function("rd_kafka_destroy", None, ADDRESS)
_poll_set_consumer = function("rd_kafka_poll_set_consumer", c_int, ADDRESS)
_queue_get_consumer = function("rd_kafka_queue_get_consumer", ADDRESS, ADDRESS)
_queue_destroy = function("rd_kafka_queue_destroy", None, ADDRESS)
_list_new = function("rd_kafka_topic_partition_list_new", ADDRESS, c_int)
_list_add = function("rd_kafka_topic_partition_list_add", ADDRESS, ADDRESS, c_char_p, c_int32)
_list_set_offset = function("rd_kafka_topic_partition_list_set_offset", c_int, ADDRESS, c_char_p, c_int32, c_int64)
_list_destroy = function("rd_kafka_topic_partition_list_destroy", None, ADDRESS)
_set_leader_epoch = function("rd_kafka_topic_partition_set_leader_epoch", None, ADDRESS, c_int32)
_assign = function("rd_kafka_assign", c_int, ADDRESS, ADDRESS)
_watermarks = function(
    "rd_kafka_query_watermark_offsets",
    *(c_int, ADDRESS, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64), c_int),
)
_known_watermarks = function(
    "rd_kafka_get_watermark_offsets",
    *(c_int, ADDRESS, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64)),
)
_consume_batch = function("rd_kafka_consume_batch_queue", c_ssize_t, ADDRESS, c_int, ADDRESS, c_size_t)
_consumer_close = function("rd_kafka_consumer_close", c_int, ADDRESS)
_last_error = function("rd_kafka_last_error", c_int)
error_text = function("rd_kafka_message_errstr", c_char_p, ADDRESS)


class Consumer:
    """Reads partitions that it is told to, as a member of no group. Raises KafkaException for what the client refuses.

    One thread reads; any may close, which waits for a call that is under way.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        self._lock = threading.Lock()
        self._client = self._queue = 0
        said = ctypes.create_string_buffer(_ERROR_BYTES)
        conf = _conf_new()
        for name, value in options.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if _conf_set(conf, name.encode(), text.encode(), said, _ERROR_BYTES):
                _conf_destroy(conf)
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, said.value.decode()))
        self._client = _new(_CONSUMER, conf, said, _ERROR_BYTES)
        if not self._client:
            _conf_destroy(conf)
            raise KafkaException(KafkaError(KafkaError._FAIL, said.value.decode()))
        _poll_set_consumer(self._client)
        self._queue = _queue_get_consumer(self._client)

    def assign(self, topic: str, positions: Mapping[int, int], epochs: Mapping[int, int]) -> None:
        """Read these partitions from their positions on; `epochs`: the leader epoch of the record before, if known."""
        listed, name = _list_new(len(positions)), topic.encode()
        try:
            for partition, offset in positions.items():
                added = _list_add(listed, name, partition)
                _list_set_offset(listed, name, partition, offset)
                _set_leader_epoch(added, epochs.get(partition, -1))
            _check(_assign(self._client, listed))
        finally:
            _list_destroy(listed)

    def watermarks(self, topic: str, partition: int, seconds: float) -> tuple[int, int]:
        """The first offset that Kafka still has, and the one that the next record gets."""
        low, high = c_int64(), c_int64()
        milliseconds = int(seconds * 1000)
        _check(_watermarks(self._client, topic.encode(), partition, byref(low), byref(high), milliseconds))
        return low.value, high.value

    def known_end(self, topic: str, partition: int) -> int | None:
        """The offset that the next record gets, as the last answer to this consumer said; None before the first."""
        low, high = c_int64(), c_int64()
        _check(_known_watermarks(self._client, topic.encode(), partition, byref(low), byref(high)))
        return high.value if high.value >= 0 else None

    def consume(self, addresses: int, most: int, seconds: float) -> int:
        """Write the addresses of the next messages, `most` or those of `seconds`, from this address on; how many.

        Errors come as messages, too. Each has to be destroyed before the consumer is closed.
        """
        with self._lock:
            if not self._client:
                raise RuntimeError("the consumer is closed")
            got: int = _consume_batch(self._queue, int(seconds * 1000), addresses, most)
        if got < 0:
            _check(_last_error())
        return got

    def close(self) -> None:
        """May be called again."""
        with self._lock:
            client, self._client = self._client, 0
            if client:
                _queue_destroy(self._queue)
                _consumer_close(client)
                _destroy(client)

    def __del__(self) -> None:
        """One that is forgotten would go on with its threads."""
        self.close()


def _check(code: int) -> None:
    if code:
        raise KafkaException(KafkaError(code))
