"""One line a measure: how it is declared, and in plain Python what its states and values must be.

The fields of an event here: n integer, d decimal(18,4), f double, s string, b boolean, w list(string), and t, the time
when it happened. None of a measure's own code is used.
"""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from lake.measures.quantiles import RELATIVE_ERROR

BOUNDS = (-1000, -0.5, 0, 2.5, 10**6)
AT = (0.01, 0.5, 0.9, 0.999)
LIMB = 2**63


@dataclass(frozen=True)
class Seen:
    """A value that is not NULL, and where its event stands: event_time, partition, offset."""

    value: Any
    at: dict[str, Any]


States = Callable[[list[Seen]], Any]


@dataclass(frozen=True)
class Line:
    """`state` and `value` of the values seen, in any order; `value` gives a dict by suffix where there are several.

    `take` is the argument in Python, the field `of` if there is none. `within` is the relative error of the values:
    of the few that are distinct here, two may share a register.
    """

    kind: str
    of: str
    state: States
    value: States
    options: dict[str, Any] = field(default_factory=dict)
    take: Callable[[dict[str, Any]], Any] | None = None
    within: float = 1e-12

    @property
    def declared(self) -> dict[str, Any]:
        return {self.kind: {"of": self.of, **self.options} if self.options else self.of}

    def seen(self, events: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> list[Seen]:
        """Of (event, where it stands), what the measure sees."""
        take = self.take or (lambda event: event[self.of])
        return [Seen(value, at) for event, at in events if (value := take(event)) is not None]


def _values(seen: list[Seen]) -> list[Any]:
    return [one.value for one in seen]


def _or_none(function: Callable[[list[Any]], Any]) -> States:
    """Of the values, None if there are none."""
    return lambda seen: function(_values(seen)) if seen else None


def _mean(values: list[Any]) -> float:
    return float(Fraction(sum(map(Fraction, values))) / len(values))


def _at_end(pick: Callable[..., Seen], of: States) -> States:
    return lambda seen: of([pick(seen, key=lambda one: tuple(one.at.values()))]) if seen else None


def _placed(seen: list[Seen]) -> dict[str, Any]:
    return {"place": seen[0].at, "value": seen[0].value}


def _moments(values: list[Any]) -> dict[str, Any]:
    whole = [int(value.scaleb(4)) if isinstance(value, Decimal) else value for value in values]
    return {
        "count": len(whole),
        "sum": sum(whole),
        "squares_high": sum(value * value // LIMB for value in whole),
        "squares_low": sum(value * value % LIMB for value in whole),
    }


def _variance(values: list[Any]) -> float | None:
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return float(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)) if len(exact) > 1 else None


def _stddev(values: list[Any]) -> float | None:
    variance = _variance(values)
    return None if variance is None else math.sqrt(variance)


def _counted(buckets: Iterable[Any]) -> list[dict[str, Any]]:
    """A map as it is kept; Python orders strings by code point, which is the order of their UTF-8 bytes."""
    return [{"bucket": bucket, "part": part} for bucket, part in sorted(Counter(buckets).items())]


def _log_bucket(value: float | int | Decimal) -> int:
    """The sign, and the first 18 bits of the IEEE double behind it."""
    [bits] = struct.unpack(">q", struct.pack(">d", abs(float(value))))
    return (bits >> 46) * (-1 if value < 0 else 1)


def _quantiles(seen: list[Seen]) -> dict[str, float | None]:
    ordered = sorted(_values(seen))
    ranks = [math.ceil(Decimal(repr(share)) * len(ordered)) for share in AT]
    names = ["p1", "p50", "p90", "p99_9"]
    return {name: float(ordered[rank - 1]) if ordered else None for name, rank in zip(names, ranks, strict=True)}


def _histogram(seen: list[Seen]) -> list[dict[str, Any]]:
    counts = Counter(bisect_left(BOUNDS, value) for value in _values(seen))
    return [{"up_to": bound, "count": counts[i]} for i, bound in enumerate([*BOUNDS, None])]


def _top(seen: list[Seen]) -> list[dict[str, Any]]:
    ranked = sorted(Counter(_values(seen)).items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"value": value, "count": count} for value, count in ranked[:2]]


def _registers(seen: list[Seen]) -> list[int]:
    """HyperLogLog over the low half of MD5: 12 bits name the register, the rank counts trailing zeros of the others."""
    highest: dict[int, int] = {}
    for text in map(str, _values(seen)):
        hashed = int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little")
        rest = hashed % (1 << 52) | 1 << 52
        highest[hashed >> 52] = max(highest.get(hashed >> 52, 0), (rest & -rest).bit_length())
    return [register << 6 | rank for register, rank in sorted(highest.items())]


def _size(seen: list[Seen]) -> int:
    return len(set(_values(seen)))


def _about(seen: list[Seen]) -> float:
    return float(_size(seen))


def _finite(function: Callable[[float], float]) -> Callable[[dict[str, Any]], float | None]:
    """An expression over f: what is no number counts for nothing, and -0.0 is 0.0."""

    def take(event: dict[str, Any]) -> float | None:
        value = None if event["f"] is None else function(event["f"])
        return None if value is None or not math.isfinite(value) else value + 0.0

    return take


_LARGE, _NEGATED = _finite(lambda f: f * 1e300), _finite(lambda f: -f)
_MIN, _MAX, _SUM = _or_none(min), _or_none(max), _or_none(sum)
_FIRST, _LAST = _at_end(min, _placed), _at_end(max, _placed)
_EARLIEST, _LATEST = _at_end(min, lambda seen: seen[0].value), _at_end(max, lambda seen: seen[0].value)
_SQUARES = _or_none(_moments)
_BUCKETS = [_log_bucket, lambda value: bisect_left(BOUNDS, value), str]
_IN_LOGS, _IN_BOUNDS, _IN_TEXTS = ((lambda seen, of=of: _counted(map(of, _values(seen)))) for of in _BUCKETS)
_AVERAGED = _or_none(lambda values: {"sum": sum(values), "count": len(values)})
_AVERAGE, _ORDERED = _or_none(_mean), (lambda seen: sorted(set(_values(seen))))
_QUANTILES = {"options": {"at": [*AT]}, "within": RELATIVE_ERROR}
_HISTOGRAM = {"options": {"bounds": [*BOUNDS]}}

LINES = {
    "count_all": Line("count", "*", len, len, take=lambda event: 1),
    "count_s": Line("count", "s", len, len),
    "sum_n": Line("sum", "n", _SUM, _SUM),
    "sum_d": Line("sum", "d", _SUM, _SUM),
    "min_n": Line("min", "n", _MIN, _MIN),
    "min_f": Line("min", "f * 1e300", _MIN, _MIN, take=_LARGE),
    "max_s": Line("max", "s", _MAX, _MAX),
    "max_f": Line("max", "-f", _MAX, _MAX, take=_NEGATED),
    "max_b": Line("max", "b", _MAX, _MAX),
    "max_t": Line("max", "t", _MAX, _MAX),
    "avg_n": Line("avg", "n", _AVERAGED, _AVERAGE),
    "avg_d": Line("avg", "d", _AVERAGED, _AVERAGE),
    "variance_n": Line("variance", "n", _SQUARES, _or_none(_variance)),
    "variance_d": Line("variance", "d", _SQUARES, _or_none(_variance)),
    "stddev_n": Line("stddev", "n", _SQUARES, _or_none(_stddev)),
    "first_s": Line("first", "s", _FIRST, _EARLIEST),
    "first_d": Line("first", "d", _FIRST, _EARLIEST),
    "last_f": Line("last", "-f", _LAST, _LATEST, take=_NEGATED),
    "last_w": Line("last", "w", _LAST, _LATEST),
    "distinct_s": Line("distinct", "s", _registers, _about, within=0.5),
    "distinct_n": Line("distinct", "n", _registers, _about, within=0.5),
    "distinct_exact_s": Line("distinct_exact", "s", _ORDERED, _size),
    "distinct_exact_f": Line("distinct_exact", "-f", _ORDERED, _size, take=_NEGATED),
    "quantiles_n": Line("quantiles", "n", _IN_LOGS, _quantiles, **_QUANTILES),
    "quantiles_d": Line("quantiles", "d", _IN_LOGS, _quantiles, **_QUANTILES),
    "quantiles_f": Line("quantiles", "f * 1e300", _IN_LOGS, _quantiles, take=_LARGE, **_QUANTILES),
    "histogram_n": Line("histogram", "n", _IN_BOUNDS, _histogram, **_HISTOGRAM),
    "histogram_d": Line("histogram", "d", _IN_BOUNDS, _histogram, **_HISTOGRAM),
    "histogram_f": Line("histogram", "f", _IN_BOUNDS, _histogram, **_HISTOGRAM),
    "top_s": Line("top", "s", _IN_TEXTS, _top, options={"k": 2}),
    "any_b": Line("any", "b", _or_none(any), _or_none(any)),
    "all_b": Line("all", "b", _or_none(all), _or_none(all)),
}
"""Measure's name in the view -> its line. A measure has one at least; more where types differ."""
