"""Fillers: records that stand for nothing, by which a topic's offsets are brought to where another topic's ended.

Invariant: the records of a batch of fillers differ by their place in it alone, so what a batch of n holds is the
beginning of what any larger one holds. That tells fillers from all else by comparing bytes, millions in a second.

A filler has no key and no value, FILLER_HEADER, and the header of a marker: whoever reads one counts nothing. The
layout is Kafka's record batch, version 2 (its protocol guide, "Record Batch").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import crc32c
import pyarrow as pa

from lake.parse import MARKER_HEADER

FILLER_HEADER = "tidemark-filler"
MOST = 200_000
"""Fillers in a batch: about as many bytes when packed, well below what a broker takes."""

# From the base offset to the number of records; the checksum covers what begins with the attributes.
_HEAD = struct.Struct(">qiibIhiqqqhii")
_AFTER_LENGTH, _CHECKED = 12, struct.calcsize(">qiibI")
_ZSTD, _APPEND_TIME, _PACKED = 4, 8, 7
_NONE = b"\x01"


@dataclass(frozen=True)
class Batch:
    """A batch as the log holds it: the offsets [first, end)."""

    first: int
    end: int
    is_append_time: bool
    """Whether the broker set the records' timestamp, instead of whoever sent them."""
    packing: int
    payload: bytes = field(repr=False)

    @property
    def is_filler(self) -> bool:
        """Whether all of it are fillers."""
        count = self.end - self.first
        if self.packing != _ZSTD or count > MOST:
            return False
        whole, ends = _records()
        try:
            held = pa.decompress(self.payload, ends[count - 1], "zstd", asbytes=True)
        except (OSError, pa.ArrowInvalid):
            return False
        return held == whole[: ends[count - 1]]


@lru_cache(maxsize=32)
def filler_batch(count: int, at_ms: int) -> bytes:
    """A batch of `count` fillers, at most MOST, with the sender's time `at_ms`, for a broker to give offsets to."""
    whole, ends = _records()
    payload = pa.compress(whole[: ends[count - 1]], "zstd", asbytes=True)
    checked = struct.pack(">hiqqqhii", _ZSTD, count - 1, at_ms, at_ms, -1, -1, -1, count) + payload
    unchecked = struct.pack(">qiibI", 0, _CHECKED - _AFTER_LENGTH + len(checked), -1, 2, crc32c.crc32c(checked))
    return unchecked + checked


def batches(records: bytes) -> Iterator[Batch]:
    """The whole batches of what a broker sent; the last one may be cut off, and is left out then."""
    at = 0
    while at + _HEAD.size <= len(records):
        first, length, _, magic, _, attributes, last, *_ = _HEAD.unpack_from(records, at)
        end = at + _AFTER_LENGTH + length
        if end > len(records):
            return
        if magic != 2:
            raise ValueError(f"a record batch of version {magic} at offset {first}, expected 2")
        payload = records[at + _HEAD.size : end]
        yield Batch(first, first + last + 1, bool(attributes & _APPEND_TIME), attributes & _PACKED, payload)
        at = end


@lru_cache(maxsize=1)
def _records() -> tuple[bytes, list[int]]:
    """MOST fillers one after another, and where each ends."""
    names = [name.encode() for name in (MARKER_HEADER, FILLER_HEADER)]
    headers = _varint(len(names)) + b"".join(_varint(len(name)) + name + _varint(0) for name in names)
    found, ends = bytearray(), []
    for place in range(MOST):
        body = b"\0\0" + _varint(place) + _NONE + _NONE + headers  # attributes, time after the first, key, value
        found += _varint(len(body)) + body
        ends.append(len(found))
    return bytes(found), ends


def _varint(number: int) -> bytes:
    """A non-negative number, zigzag-encoded, seven bits a byte, the lowest first."""
    number, coded = number << 1, bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    coded.append(number)
    return bytes(coded)
