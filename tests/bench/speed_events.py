"""Shop events of 204 bytes by the million, and what is true of them, counted over columns before they become JSON.

Invariant: the same arguments give the same events in the same order. One in a hundred is cut off within its JSON, some
(`late`, a share) come up to two hours late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.cuts import epoch_ms
from tests.bench.bench_lake import T0

EVENT_BYTES = 204
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
_BLOCK = 100_000
_BAD, _LATE_MS, _DELAY_MS = 0.01, 2 * HOUR_MS, 30_000
_KINDS = ["page_view", "order", "basket_add", "login"]
_SHARES = [0.70, 0.15, 0.08, 0.07]
_COUNTRIES = ["AT", "BE", "CH", "CZ", "DE", "DK", "ES", "FI", "FR", "GB", "IE", "IT", "NL", "NO", "PL", "PT", "SE"]

Counts = dict[tuple[str, str, int], tuple[int, int]]
"""('order', country, hour in ms) -> (orders, cents); ('page_view', page, minute in ms) -> (page views, 0)."""


@dataclass(frozen=True)
class Error:
    """How far an answer is from the truth: the events counted too few or too many, the cents, and the wrong rows."""

    events: int
    cents: int
    rows: int
    share: float
    """The events counted wrongly, of those that are to be counted."""


def error_of(answer: Mapping, truth: Counts) -> Error:
    """Rows that only one of the two has are wrong by all that they count."""
    pairs = [(answer.get(key, (0, 0)), truth.get(key, (0, 0))) for key in answer.keys() | truth.keys()]
    events = sum(abs(found[0] - true[0]) for found, true in pairs)
    cents = sum(abs(found[1] - true[1]) for found, true in pairs)
    total = sum(count for count, _ in truth.values())
    return Error(events, cents, sum(found != true for found, true in pairs), events / max(total, 1))


def added(*counts: Mapping) -> Counts:
    """What is true of several streams together."""
    total: Counts = {}
    for each in counts:
        for key, (events, cents) in each.items():
            known = total.get(key, (0, 0))
            total[key] = known[0] + events, known[1] + cents
    return total


class SpeedEvents:
    """`count` events of `pages` pages, evenly over [start_ms, start_ms + span_ms), to partitions at random."""

    def __init__(
        self,
        count: int,
        partitions: int,
        seed: int = 1,
        *,
        start_ms: int = epoch_ms(T0),
        span_ms: int = HOUR_MS,
        late: float = 0.03,
        pages: int = 50,
    ) -> None:
        self.count, self.partitions = count, partitions
        self._seed, self._start_ms, self._span_ms = seed, start_ms, span_ms
        self._late, self._pages = late, pages
        self.truth: Counts = {}
        for columns in self.columns():
            self.truth = added(self.truth, _counted(columns))
        self.counted = sum(events for events, _ in self.truth.values())
        """How many of them some view counts."""

    def columns(self) -> Iterator[pa.Table]:
        """number, partition, arrival (ms), time (ms), good, kind, country, page, cents, user, value, in blocks."""
        chance = np.random.default_rng(self._seed)
        for first in range(0, self.count, _BLOCK):
            yield self._block(chance, first, min(first + _BLOCK, self.count))

    def records(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(partition, key, value) of each."""
        for block in self.columns():
            lists = (block[name].to_pylist() for name in ("partition", "user", "value"))
            yield from zip(*lists, strict=True)

    def _block(self, chance: np.random.Generator, first: int, end: int) -> pa.Table:
        count = end - first
        number = np.arange(first, end)
        arrival = self._start_ms + number * self._span_ms // self.count
        late = np.where(chance.random(count) < self._late, chance.integers(0, _LATE_MS, count), 0)
        time = arrival - chance.integers(0, min(_DELAY_MS, self._span_ms), count) - late
        kind = pa.array(_KINDS).take(pa.array(chance.choice(len(_KINDS), count, p=_SHARES)))
        country = pa.array(_COUNTRIES).take(pa.array(chance.integers(0, len(_COUNTRIES), count)))
        page = _text("/page/", chance.integers(0, self._pages, count))
        cents = chance.integers(300, 40_100, count)
        user = _text("user-", chance.integers(10_000, 100_000, count))
        good = pa.array(chance.random(count) >= _BAD)
        event = pc.binary_join_element_wise(
            *('{"event_id":"', _text(f"{self._seed}-", number), '","event_time":', _text("", time)),
            *(',"event_type":"', kind, '","user_id":"', user, '","country":"', country, '"'),
            pc.if_else(pc.equal(kind, "page_view"), pc.binary_join_element_wise(',"page":"', page, '"', ""), ""),
            pc.if_else(
                pc.equal(kind, "order"), pc.binary_join_element_wise(',"amount":"', _amount(cents), '"', ""), ""
            ),
            *(',"agent":"', ""),
        )
        whole = pc.binary_join_element_wise(pc.utf8_rpad(event, EVENT_BYTES - 2, "."), '"}', "")
        value = pc.if_else(good, whole, pc.utf8_slice_codeunits(whole, 0, 60))
        return pa.table(
            {
                "number": number,
                "partition": chance.integers(0, self.partitions, count).astype("int32"),
                "arrival": arrival,
                "time": time,
                "good": good,
                "kind": kind,
                "country": country,
                "page": page,
                "cents": cents,
                "user": user.cast(pa.binary()),
                "value": value.cast(pa.binary()),
            }
        )


def _counted(columns: pa.Table) -> Counts:
    found: Counts = {}
    for kind, name, step in (("order", "country", HOUR_MS), ("page_view", "page", MINUTE_MS)):
        own = columns.filter(pc.and_(columns["good"], pc.equal(columns["kind"], kind)))
        time = own["time"].to_numpy()
        rows = own.append_column("at", pa.array(time - time % step)).group_by([name, "at"])
        for row in rows.aggregate([("cents", "sum"), ("number", "count")]).to_pylist():
            cents = row["cents_sum"] if kind == "order" else 0
            found[kind, row[name], row["at"]] = row["number_count"], cents
    return found


def _text(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _amount(cents: np.ndarray) -> pa.Array:
    rest = pc.utf8_lpad(pa.array(cents % 100).cast(pa.string()), 2, "0")
    return pc.binary_join_element_wise(pa.array(cents // 100).cast(pa.string()), rest, ".")
