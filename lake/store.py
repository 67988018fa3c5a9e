"""The speed store: per partition how far the speed layer has come, and per segment the states of every view.

Invariant: a head and its segments change together or not at all, and only by a chunk that starts where the head
stands. So the segments of a partition chain without a hole, [first, next) after [first, next), up to the head.
It is a cache: losing it costs a replay from the frontier, nothing else. It must not evict (`noeviction`): where it is
full, it refuses a write as a whole, and can still be read and trimmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import redis
from pydantic import SecretStr

from lake.errors import StoreFull

_HEAD_FIELDS = ("next_offset", "topic_id", "epoch", "segment", "max_append_ms", "first", "versions")

# Every key of a domain's generation carries the hash tag {generation:domain}: one slot, so one script may touch all.
_OPEN = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'next_offset', ARGV[2], 'topic_id', ARGV[3], 'epoch', '-1',
             'segment', '', 'max_append_ms', '0', 'first', ARGV[2], 'versions', ARGV[4])
  redis.call('SADD', KEYS[2], ARGV[1])
end
return redis.call('HMGET', KEYS[1], unpack(ARGV, 5))
"""

# A full server denies a script the first of its writes or none, and never a DEL: so ZADD comes first.
_PUT = """
local stored = redis.call('HMGET', KEYS[1], 'next_offset', 'topic_id')
if ARGV[1] == '1' and (stored[1] ~= ARGV[2] or stored[2] ~= ARGV[3]) then return 0 end
local at, segment, first, next_offset, max_append_ms = 6
for piece = 3, #KEYS do
  segment, first, next_offset, max_append_ms = unpack(ARGV, at, at + 3)
  redis.call('ZADD', KEYS[2], segment, segment)
  redis.call('DEL', KEYS[piece])
  redis.call('HSET', KEYS[piece], 'first', first, 'next', next_offset)
  local states = tonumber(ARGV[at + 4])
  at = at + 5
  for _ = 1, states do
    redis.call('HSET', KEYS[piece], 'state:' .. ARGV[at], ARGV[at + 1])
    at = at + 2
  end
end
redis.call('HSET', KEYS[1], 'next_offset', next_offset, 'topic_id', ARGV[3], 'epoch', ARGV[4],
           'segment', segment, 'max_append_ms', max_append_ms, 'first', first, 'versions', ARGV[5])
return 1
"""

_SNAPSHOT = """
local known, result = {}, {}
for i = 3, #ARGV do known[ARGV[i]] = true end
for _, partition in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local prefix, segments = ARGV[1] .. ':' .. partition, {}
  for _, segment in ipairs(redis.call('ZRANGE', prefix .. ':segments', 0, -1)) do
    local key = prefix .. ':segment:' .. segment
    local range = redis.call('HMGET', key, 'first', 'next')
    if range[1] and range[2] then  -- one that was lost leaves a hole, which serving tells
      local mark = table.concat({partition, segment, range[1], range[2]}, ':')
      local states = (ARGV[2] == '0' or known[mark]) and {} or redis.call('HGETALL', key)
      segments[#segments + 1] = {segment, range[1], range[2], states}
    end
  end
  result[#result + 1] = {partition, redis.call('HMGET', prefix .. ':head', 'next_offset', 'topic_id', 'epoch',
                         'segment', 'max_append_ms', 'first', 'versions'), segments}
end
return result
"""

_TRIM = """
local removed, stands_in = 0, redis.call('HGET', KEYS[1], 'segment')
for _, segment in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local key = ARGV[1] .. segment
  local next_offset = redis.call('HGET', key, 'next')
  if segment ~= stands_in and next_offset and tonumber(next_offset) <= tonumber(ARGV[2]) then
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[2], segment)
    removed = removed + 1
  end
end
return removed
"""


@dataclass(frozen=True)
class Resume:
    """Where a partition goes on: the next offset to read, and the segment that the offset before it stands in.

    `segment` (its start, ms) is None until a first chunk was put; `first` is that segment's first offset and
    `max_append_ms` the running maximum that the next record's append_time is compared with. `versions` has, for each
    dimension, the version that holds in the segment and the highest that was announced up to the offset.
    """

    next_offset: int
    topic_id: str
    epoch: int
    segment: int | None
    max_append_ms: int
    first: int
    versions: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """The absolute state of one segment (its start, ms) over the offsets [first, next): it replaces what is stored."""

    segment: int
    first: int
    next: int
    max_append_ms: int
    states: Mapping[str, bytes]


@dataclass(frozen=True)
class Put:
    """What a chunk holds of one partition, to be stored where the store stands at `start`."""

    partition: int
    start: int
    pieces: Sequence[Piece]
    topic_id: str
    epoch: int
    versions: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class StoredSegment:
    """A segment as stored: the offsets [first, next) and per view its encoded states."""

    first: int
    next: int
    states: Mapping[str, bytes]


@dataclass(frozen=True)
class StoreSnapshot:
    """All partitions at one moment: `heads` by partition, `segments` by (partition, segment start ms), in order."""

    heads: Mapping[int, Resume]
    segments: Mapping[tuple[int, int], StoredSegment]


class SpeedStore:
    """The states of one domain in one generation (a set of view definitions).

    `compare_and_set=False` exists for the test that shows what the comparison is there for.
    """

    def __init__(self, url: SecretStr, generation: str, domain: str, *, compare_and_set: bool = True) -> None:
        self._redis: Any = redis.Redis.from_url(
            url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5, health_check_interval=15
        )
        self.domain = domain
        self._prefix = f"tidemark:{{{generation}:{domain}}}"
        self._compare = "1" if compare_and_set else "0"
        self._open = self._redis.register_script(_OPEN)
        self._put = self._redis.register_script(_PUT)
        self._snapshot = self._redis.register_script(_SNAPSHOT)
        self._trim = self._redis.register_script(_TRIM)

    def open(self, partition: int, start: int, topic_id: str, announced: Mapping[str, int] | None = None) -> Resume:
        """Where the partition goes on; at `start` if the store does not know it yet.

        `announced`: the highest version of each dimension that was announced before `start`. Raises StoreFull.
        """
        keys = [self._key(partition, "head"), f"{self._prefix}:partitions"]
        versions = json.dumps({name: (version, version) for name, version in (announced or {}).items()})
        try:
            return _resume(self._open(keys=keys, args=[partition, start, topic_id, versions, *_HEAD_FIELDS]))
        except redis.ResponseError as error:
            if _denied(error):
                raise StoreFull from error
            raise

    def resume(self, partition: int) -> Resume | None:
        """Where the partition goes on, None if the store does not know it."""
        fields = self._redis.hmget(self._key(partition, "head"), _HEAD_FIELDS)
        return None if fields[0] is None else _resume(fields)

    def heads(self) -> dict[int, Resume]:
        """Where each partition that the store knows goes on: one after another, not as of one moment."""
        partitions = sorted(int(name) for name in self._redis.smembers(f"{self._prefix}:partitions"))
        with self._redis.pipeline(transaction=False) as pipeline:
            for partition in partitions:
                pipeline.hmget(self._key(partition, "head"), _HEAD_FIELDS)
            found = zip(partitions, pipeline.execute(), strict=True)
            return {p: _resume(fields) for p, fields in found if fields[0] is not None}

    def states(self, partition: int, segment: int) -> dict[str, bytes]:
        """Each view's encoded states of one segment; empty if there is no such segment."""
        return _states(self._redis.hgetall(self._key(partition, "segment", segment)))

    def put_all(self, puts: Sequence[Put]) -> list[bool | None]:
        """Store a chunk, a script for each partition, all sent at once; for each whether it was accepted.

        A partition's pieces cover [start, pieces[-1].next), and its head moves to their end.
        The first piece either goes on with the segment the head stands in (its `first` lies before `start`) or
        begins one at `start`; each later piece begins where the one before ends. False, and nothing changed of this
        partition, unless the stored next offset is `start` and the stored topic id is `topic_id`: another reader
        moved it. None, and nothing changed of this partition, where the store is full.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for put in puts:
                self._put(*self._scripted(put), client=pipeline)
            return [_accepted(reply) for reply in pipeline.execute(raise_on_error=False)]

    def put(
        self,
        partition: int,
        start: int,
        pieces: Sequence[Piece],
        topic_id: str,
        epoch: int,
        versions: Mapping[str, tuple[int, int]] | None = None,
    ) -> bool:
        """`put_all` for one partition. Raises StoreFull."""
        [accepted] = self.put_all([Put(partition, start, pieces, topic_id, epoch, versions or {})])
        if accepted is None:
            raise StoreFull
        return accepted

    def _scripted(self, put: Put) -> tuple[list[str], list[Any]]:
        _check_chain(put.start, put.pieces)
        keys = [self._key(put.partition, "head"), self._key(put.partition, "segments")]
        args: list[Any] = [self._compare, put.start, put.topic_id, put.epoch, json.dumps(put.versions)]
        for piece in put.pieces:
            keys.append(self._key(put.partition, "segment", piece.segment))
            args += [piece.segment, piece.first, piece.next, piece.max_append_ms, len(piece.states)]
            for view, state in piece.states.items():
                args += [view, state]
        return keys, args

    def snapshot(self, known: StoreSnapshot | None = None) -> StoreSnapshot:
        """Everything stored, as of one moment. States that an earlier snapshot `known` holds do not travel again."""
        before = known.segments if known else {}
        marks = [f"{p}:{segment}:{s.first}:{s.next}" for (p, segment), s in before.items()]
        return self._read({key: segment.states for key, segment in before.items()}, ["1", *marks])

    def ranges(self) -> StoreSnapshot:
        """The same, but every segment is without its states."""
        return self._read(None, ["0"])

    def _read(self, known: Mapping[tuple[int, int], Mapping[str, bytes]] | None, args: Sequence[str]) -> StoreSnapshot:
        heads: dict[int, Resume] = {}
        segments: dict[tuple[int, int], StoredSegment] = {}
        reply = self._snapshot(keys=[f"{self._prefix}:partitions"], args=[self._prefix, *args])
        for name, fields, stored in sorted(reply, key=lambda row: int(row[0])):
            heads[int(name)] = _resume(fields)
            for segment, first, next_, flat in stored:
                key = (int(name), int(segment))
                if flat:
                    states: Mapping[str, bytes] = _states(dict(zip(flat[::2], flat[1::2], strict=True)))
                else:
                    states = known[key] if known is not None else {}
                segments[key] = StoredSegment(int(first), int(next_), states)
        return StoreSnapshot(heads, segments)

    def trim(self, below: Mapping[int, int]) -> int:
        """Remove the segments that end at or before `below[partition]`; how many were removed.

        The segment that a head stands in stays: its next chunk is merged into it.
        """
        return sum(
            self._trim(
                keys=[self._key(partition, "head"), self._key(partition, "segments")],
                args=[self._key(partition, "segment", ""), offset],
            )
            for partition, offset in below.items()
        )

    def forget(self) -> int:
        """Remove all of this generation; how many keys that were. Whoever still reads it begins at the frontier."""
        keys = list(self._redis.scan_iter(match=f"{self._prefix}:*", count=1000))
        for at in range(0, len(keys), 1000):
            self._redis.unlink(*keys[at : at + 1000])
        return len(keys)

    def _key(self, partition: int, *parts: object) -> str:
        return ":".join([self._prefix, str(partition), *map(str, parts)])


def stored_generations(url: SecretStr, domain: str) -> set[str]:
    """The generations of a domain that the store knows."""
    client: Any = redis.Redis.from_url(url.get_secret_value(), socket_timeout=10, socket_connect_timeout=5)
    with client:
        keys = [key.decode() for key in client.scan_iter(match=f"tidemark:{{*:{domain}}}:partitions", count=1000)]
    return {key.split("{")[1].split(":")[0] for key in keys}


def _accepted(reply: Any) -> bool | None:
    if isinstance(reply, Exception):
        if _denied(reply):
            return None
        raise reply
    return bool(reply)


def _denied(error: Exception) -> bool:
    """Whether a write was denied for want of memory; up to Redis 6 a script's error has that in its text alone."""
    return isinstance(error, redis.OutOfMemoryError) or "-OOM " in str(error)


def _resume(fields: Sequence[bytes]) -> Resume:
    next_offset, topic_id, epoch, segment, max_append_ms, first, versions = (value.decode() for value in fields)
    return Resume(
        int(next_offset),
        topic_id,
        int(epoch),
        int(segment) if segment else None,
        int(max_append_ms),
        int(first),
        {name: (held, announced) for name, (held, announced) in json.loads(versions).items()},
    )


def _states(stored: Mapping[bytes, bytes]) -> dict[str, bytes]:
    return {key[6:].decode(): value for key, value in stored.items() if key.startswith(b"state:")}


def _check_chain(start: int, pieces: Sequence[Piece]) -> None:
    if not pieces or not pieces[0].first <= start < pieces[0].next:
        raise ValueError(f"a chunk from offset {start} must begin inside its first piece, got {_ranges(pieces)}")
    for before, after in pairwise(pieces):
        if before.next != after.first or after.first >= after.next or before.segment >= after.segment:
            raise ValueError(f"pieces must follow each other without a hole or overlap, got {_ranges(pieces)}")


def _ranges(pieces: Sequence[Piece]) -> str:
    return ", ".join(f"segment {p.segment} [{p.first}, {p.next})" for p in pieces) or "no piece"
