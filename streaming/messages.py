"""librdkafka's messages -> Arrow: the columns of raw, copied straight from where the library keeps them.

The loops are compiled by Numba, once a process (`compile_loops`), and run without Python's lock.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int32
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from confluent_kafka import KafkaError

from lake.raw_schema import RAW_SCHEMA
from streaming.librdkafka import ADDRESS, Consumer, error_text, function

# rd_kafka_message_t, which librdkafka promises not to change; then what its functions tell of a message.
_STRUCT = [
    ("error", np.int32),
    ("topic", np.int64),
    ("partition", np.int32),
    ("value", np.int64),
    ("value_size", np.int64),
    ("key", np.int64),
    ("key_size", np.int64),
    ("offset", np.int64),
    ("private", np.int64),
]
_STRUCT_BYTES = np.dtype(_STRUCT, align=True).itemsize
_MESSAGE = np.dtype(
    [*_STRUCT, ("time", np.int64), ("time_kind", np.int64), ("epoch", np.int64), ("headers", np.int64)], align=True
)
_HEADER = np.dtype([("name", np.int64), ("name_size", np.int64), ("value", np.int64), ("value_size", np.int64)])
_LOG_APPEND_TIME = 2

_memcpy = ctypes.CDLL(None).memcpy
_memcpy.restype, _memcpy.argtypes = ADDRESS, (ADDRESS, ADDRESS, ADDRESS)
_strlen = ctypes.CDLL(None).strlen
_strlen.restype, _strlen.argtypes = ADDRESS, (ADDRESS,)
_time = function("rd_kafka_message_timestamp", ADDRESS, ADDRESS, ADDRESS)
_epoch = function("rd_kafka_message_leader_epoch", c_int32, ADDRESS)
_headers = function("rd_kafka_message_headers", c_int32, ADDRESS, ADDRESS)
_header_count = function("rd_kafka_header_cnt", ADDRESS, ADDRESS)
_header = function("rd_kafka_header_get_all", c_int32, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS)
_destroy = function("rd_kafka_message_destroy", None, ADDRESS)


class Messages:
    """Room for so many messages, which stay the library's until `release`."""

    def __init__(self, room: int) -> None:
        self._addresses = np.empty(room, np.int64)
        self._all = np.empty(room, _MESSAGE)
        self._count = 0
        self.bytes = 0
        """Of keys and values."""

    def __len__(self) -> int:
        return self._count

    def take(self, consumer: Consumer, most: int, seconds: float) -> KafkaError | None:
        """Take the consumer's next messages; the first error among them, if there is one."""
        at = self._count
        got = consumer.consume(self._addresses.ctypes.data + at * self._addresses.itemsize, most, seconds)
        self._count = end = at + got
        new = self._all[at:end]
        _describe(self._addresses[at:end], new)
        wrong = np.flatnonzero(new["error"])
        if len(wrong):
            code, said = int(new["error"][wrong[0]]), error_text(int(self._addresses[at + wrong[0]]))
            return KafkaError(code, said.decode(errors="replace") if said else None)
        self.bytes += int(new["value_size"].sum() + new["key_size"].sum())
        return None

    def table(self) -> pa.Table:
        """RAW_SCHEMA, in the order in which they came."""
        found = self._all[: self._count]
        milliseconds = pa.array(found["time"]).cast(pa.timestamp("ms", "UTC"))
        columns = [
            pa.array(found["partition"]),
            pa.array(found["offset"]),
            milliseconds.cast(pa.timestamp("us", "UTC")),
            _binary(found["key"], found["key_size"]),
            _binary(found["value"], found["value_size"]),
            self._headers(found["headers"]),
        ]
        return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)

    def are_log_append_time(self) -> bool:
        """Whether the broker set the time of each, not its producer."""
        return bool((self._all["time_kind"][: self._count] == _LOG_APPEND_TIME).all())

    def ends(self) -> dict[int, int]:
        """For each partition, the offset after its last message."""
        return self._last("offset", 1)

    def epochs(self) -> dict[int, int]:
        """For each partition, the leader epoch of its last message, where the broker tells it."""
        return {partition: epoch for partition, epoch in self._last("epoch").items() if epoch >= 0}

    def release(self) -> None:
        """Give them back; nothing that `table` gave needs them."""
        _release(self._addresses[: self._count])
        self._count = self.bytes = 0

    def _last(self, name: str, plus: int = 0) -> dict[int, int]:
        backwards = self._all[: self._count][::-1]
        partitions, at = np.unique(backwards["partition"], return_index=True)
        lasts = backwards[name][at] + plus
        return dict(zip(partitions.tolist(), lasts.tolist(), strict=True))

    def _headers(self, lists: np.ndarray) -> pa.Array:
        kind = RAW_SCHEMA.field("headers").type
        if not lists.any():
            return pa.nulls(len(lists), kind)
        ends = _header_ends(lists)
        headers = np.empty(ends[-1], _HEADER)
        _list_headers(lists, headers)
        names = _text(_binary(headers["name"], headers["name_size"]))
        values = _binary(headers["value"], headers["value_size"])
        pairs = pa.StructArray.from_arrays([names, values], fields=list(kind.value_type))
        return pa.ListArray.from_arrays(pa.array(ends), pairs, type=kind, mask=pa.array(lists == 0))


@functools.cache
def compile_loops() -> None:
    """Do now what the first call would do else: it takes a second or two."""
    none, nulls = np.empty(0, np.int64), np.zeros(2, _MESSAGE)
    _describe(none, nulls[:0])
    _binary(nulls["value"], nulls["value_size"])
    _header_ends(nulls["headers"])
    _list_headers(nulls["headers"], np.empty(0, _HEADER))
    _release(none)


def _binary(addresses: np.ndarray, sizes: np.ndarray) -> pa.Array:
    """The bytes at these addresses; null for address 0."""
    count = len(addresses)
    there = addresses != 0
    ends = np.zeros(count + 1, np.int32)
    np.cumsum(np.where(there, sizes, 0), out=ends[1:])
    data = np.empty(ends[-1], np.uint8)
    _copy(addresses, ends, data)
    nulls = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(), count, [nulls, pa.py_buffer(ends), pa.py_buffer(data)])


def _text(names: pa.Array) -> pa.Array:
    """As text, with an escape for each byte that is none."""
    try:
        return names.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([name.decode(errors="backslashreplace") for name in names.to_pylist()], pa.string())


def _compiled(loop: Any) -> Any:
    return numba.njit(nogil=True)(loop)


@_compiled
def _describe(addresses, messages):
    kind, headers = np.zeros(1, np.int32), np.zeros(1, np.int64)
    for i in range(len(addresses)):
        _memcpy(messages[i : i + 1].ctypes.data, addresses[i], _STRUCT_BYTES)
        message = messages[i]
        message.time = _time(addresses[i], kind.ctypes.data)
        message.time_kind = kind[0]
        message.epoch = _epoch(addresses[i])
        message.headers = headers[0] if _headers(addresses[i], headers.ctypes.data) == 0 else 0


@_compiled
def _copy(addresses, ends, data):
    for i in range(len(addresses)):
        if addresses[i] != 0:
            _memcpy(data.ctypes.data + ends[i], addresses[i], ends[i + 1] - ends[i])


@_compiled
def _header_ends(lists):
    ends = np.zeros(len(lists) + 1, np.int32)
    for i in range(len(lists)):
        ends[i + 1] = ends[i] + (_header_count(lists[i]) if lists[i] != 0 else 0)
    return ends


@_compiled
def _list_headers(lists, headers):
    at = 0
    found = np.zeros(3, np.int64)
    name, value, size = found[0:].ctypes.data, found[1:].ctypes.data, found[2:].ctypes.data
    for i in range(len(lists)):
        for index in range(_header_count(lists[i]) if lists[i] != 0 else 0):
            _header(lists[i], index, name, value, size)
            header = headers[at]
            header.name, header.name_size = found[0], _strlen(found[0])
            header.value, header.value_size = found[1], found[2]
            at += 1


@_compiled
def _release(addresses):
    for i in range(len(addresses)):
        _destroy(addresses[i])
