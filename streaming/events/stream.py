"""What every generator does to the events that it makes: some come late, some twice, some malformed.

Invariant: the same seed, shares and clock give the same stream; a duplicate is an earlier good event, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Record = tuple[bytes, bytes | None, str]
"""Key, value, kind: `good`, `duplicate` (an earlier good one, byte for byte), `conflict` (with its id, but another
payload) or one of BAD."""

Make = Callable[[bytes, int], tuple[bytes, bytes]]
"""(event id, event time in ms) -> (key, value); a value is a JSON object with `event_id` and `event_time`."""

GOOD, DUPLICATE, CONFLICT = "good", "duplicate", "conflict"
BAD = ("bad_utf8", "truncated", "wrong_type", "null_value", "missing_field")
HOUR_MS = 3_600_000
_RECENT = 1024


@dataclass(frozen=True)
class Shares:
    """Of all events: how many come late, are sent twice, are malformed, contradict another (0 to 1 each)."""

    late: float = 0.03
    duplicates: float = 0.01
    malformed: float = 0.005
    conflicts: float = 0.0


def stream(seed: int, shares: Shares, clock_ms: Callable[[], int], history_ms: int, make: Make) -> Iterator[Record]:
    """Events without end, made by `make` and then sent late, again or spoiled.

    Event times lie within the last `history_ms`, late ones 1 minute to 6 hours before that.
    """
    rng = random.Random(seed)
    chance, bits = rng.random, rng.getrandbits
    # Names the run, so that events of a second run with this seed are not taken for duplicates.
    run = b"%x-%x" % (seed, clock_ms())
    recent: list[tuple[bytes, bytes]] = []
    repeated = shares.duplicates + shares.conflicts
    special = repeated + shares.malformed
    number = 0
    while True:
        number += 1
        event_time = clock_ms() - int(history_ms * chance())
        if chance() < shares.late:
            event_time -= 60_000 + int(6 * HOUR_MS * chance() ** 3)
        key, value = make(b"%b-%d" % (run, number), event_time)
        if (dice := chance()) < special:
            if dice >= repeated:
                kind = BAD[rng.randrange(len(BAD))]
                yield key, _spoiled(value, kind), kind
            elif recent:
                again = recent[rng.randrange(len(recent))]
                yield (*again, DUPLICATE) if dice < shares.duplicates else (*_contradicted(*again), CONFLICT)
            continue
        if len(recent) < _RECENT:
            recent.append((key, value))
        elif number % 7 == 0:
            recent[bits(10)] = (key, value)
        yield key, value, GOOD


def picked(rng: random.Random, templates: Sequence[tuple[bytes, bytes]]) -> Make:
    """Events that are one of the templates each: a key, and all of the JSON object but its id and time.

    Picking is quick, so enough of them (a power of two) make a stream that looks random.
    """
    bits, width = rng.getrandbits, len(templates).bit_length() - 1

    def make(event_id: bytes, event_time: int) -> tuple[bytes, bytes]:
        key, rest = templates[bits(width)]
        return key, b'{"event_id":"%b","event_time":%d,%b' % (event_id, event_time, rest)

    return make


def _contradicted(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    return key, value[:-1] + b',"again":true}'


def _spoiled(value: bytes, kind: str) -> bytes | None:
    match kind:
        case "bad_utf8":
            return value.replace(b'"event_id":"', b'"event_id":"\xff\xfe')
        case "truncated":
            return value[: len(value) * 2 // 3]
        case "wrong_type":
            return value.replace(b'"event_time":', b'"event_time":"yesterday","was":')
        case "null_value":
            return None
        case "missing_field":
            return value.replace(b'"event_id"', b'"number"')
    raise AssertionError(kind)
