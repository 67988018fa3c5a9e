"""The states of approximate measures, in plain Python."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable


def registers(texts: Iterable[str]) -> list[int]:
    """The state of `distinct`: register << 6 | rank, of each register its highest rank."""
    highest: dict[int, int] = {}
    for text in set(texts):
        register, rank = register_and_rank(text)
        highest[register] = max(rank, highest.get(register, 0))
    return [register << 6 | rank for register, rank in sorted(highest.items())]


def estimate(texts: Iterable[str]) -> int:
    """The value of `distinct`: Ertl 2017, algorithm 6, over how many registers have each rank."""
    codes = registers(texts)
    ranks = Counter(code & 63 for code in codes)
    m, z = 4096, 0.0
    for rank in range(53, 0, -1):
        z = (z + ranks[rank]) / 2
    return round(m * m / (2 * math.log(2)) / (z + m * _sigma(1 - len(codes) / m)))


def _sigma(x: float) -> float:
    result, weight = x, 1.0
    for _ in range(40):
        x *= x
        result += x * weight
        weight *= 2
    return result


def register_and_rank(text: str) -> tuple[int, int]:
    """HyperLogLog over the low half of MD5: 12 bits name the register, the rank counts trailing zeros of the others."""
    hashed = int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little")
    register, rest = hashed >> 52, hashed % (1 << 52)
    rank = 1
    while rank < 53 and rest % 2 == 0:
        rest //= 2
        rank += 1
    return register, rank


def log_buckets(numbers: Iterable[float]) -> list[dict[str, int]]:
    """The state of `quantiles`: how many numbers are in each bucket, 64 buckets for each doubling; none below zero."""
    counts = Counter(_log_bucket(float(number)) for number in numbers)
    return [{"bucket": bucket, "part": part} for bucket, part in sorted(counts.items())]


def _log_bucket(number: float) -> int:
    if number == 0:
        return 0
    fraction, exponent = math.frexp(number)
    return (exponent - 1 + 1023) * 64 + int((fraction * 2 - 1) * 64)


def quantile(numbers: Iterable, share: float) -> float:
    """The number of rank ceil(share * count), exactly."""
    ordered = sorted(numbers)
    return float(ordered[math.ceil(share * len(ordered)) - 1])
