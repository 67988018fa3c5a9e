"""Shop events by the million, made column by column, and what is true of them, counted before they become JSON.

Invariant: the same seed and size give the same events. One in a hundred is cut off within its JSON, three in a hundred
come up to two hours late.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.cuts import Cut, epoch_ms
from lake.parse import MARKER_HEADER
from lake.raw_schema import RAW_SCHEMA
from streaming.events.shop import shop_events
from streaming.events.stream import Shares
from tests.reference.sketches import register_and_rank

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
BLOCK = 250_000
"""Records of a file of raw, at most."""
_TEMPLATES, _BAD, _LATE, _LATE_MS, _DELAY_MS = 1 << 13, 0.01, 0.03, 2 * HOUR_MS, 30_000
_TRUNCATED = '{"event_id":"x","event_type":"order","amou'

Revenue = dict[tuple[str, int], tuple[int, int]]
"""(country, hour in ms) -> (cents, orders)."""
Visitors = dict[tuple[str, int], tuple[int, list[int]]]
"""(page, minute in ms) -> (page views, registers of the distinct users as `distinct` keeps them)."""


class Truth:
    """The states of `revenue_by_country_hour` and `visitors_by_page_minute`, by Arrow over the columns."""

    def __init__(self) -> None:
        self._orders: list[pa.Table] = []
        self._registers: list[pa.Table] = []
        self._views: list[pa.Table] = []

    def add(self, columns: pa.Table) -> None:
        """`columns`: of good events kind, time (ms), country, page, cents, register, rank."""
        orders = _at(columns.filter(pc.equal(columns["kind"], "order")), HOUR_MS)
        views = _at(columns.filter(pc.equal(columns["kind"], "page_view")), MINUTE_MS)
        self._orders.append(_summed(orders, ["country", "at"], [("cents", "sum"), ("kind", "count")]))
        self._views.append(_summed(views, ["page", "at"], [("kind", "count")]))
        self._registers.append(_summed(views, ["page", "at", "register"], [("rank", "max")]))

    def revenue(self) -> Revenue:
        rows = _again(self._orders, ["country", "at"], {"cents_sum": "sum", "kind_count": "sum"})
        return {(row["country"], row["at"]): (row["cents_sum"], row["kind_count"]) for row in rows}

    def page_views(self) -> dict[tuple[str, int], int]:
        rows = _again(self._views, ["page", "at"], {"kind_count": "sum"})
        return {(row["page"], row["at"]): row["kind_count"] for row in rows}

    def visitors(self) -> Visitors:
        registers: dict[tuple[str, int], list[int]] = {}
        for row in _again(self._registers, ["page", "at", "register"], {"rank_max": "max"}):
            registers.setdefault((row["page"], row["at"]), []).append(row["register"] << 6 | row["rank_max"])
        return {key: (views, sorted(registers[key])) for key, views in self.page_views().items()}


class ShopRecords:
    """`count` events appended evenly over [start, start + an hour). Each is another, made of parts that repeat."""

    def __init__(self, count: int, start: datetime, partitions: int, seed: int = 1) -> None:
        self.count, self.truth = count, Truth()
        self._start_ms, self._partitions = epoch_ms(start), partitions
        self._random = np.random.default_rng(seed)
        self._templates = _templates(seed)
        self._blocks: list[pa.Table] = []
        self.heads: Cut = dict.fromkeys(range(partitions), 0)
        """How many of them each partition has."""
        size = min(BLOCK, max(1, count // 4))
        for first in range(0, count, size):
            self._blocks.append(self._block(first, min(first + size, count)))

    def blocks(self, offsets: Mapping[int, int], shift_ms: int = 0) -> Iterator[pa.Table]:
        """The records (RAW_SCHEMA) as if each partition began at these offsets, appended `shift_ms` later."""
        base = np.array([offsets.get(p, 0) for p in range(self._partitions)])
        for block in self._blocks:
            offset = pa.array(block["offset"].to_numpy() + base[block["partition"].to_numpy()])
            time = pc.add(block["append_time"].cast(pa.int64()), shift_ms * 1000).cast(RAW_SCHEMA.field(2).type)
            yield block.set_column(1, RAW_SCHEMA.field(1), offset).set_column(2, RAW_SCHEMA.field(2), time)

    def _block(self, first: int, end: int) -> pa.Table:
        chance, count = self._random, end - first
        picked = chance.integers(0, len(self._templates), count)
        append_ms = self._start_ms + 2 + np.arange(first, end) * (HOUR_MS - 2) // self.count
        late = np.where(chance.random(count) < _LATE, chance.integers(0, _LATE_MS, count), 0)
        time = append_ms - chance.integers(0, _DELAY_MS, count) - late
        good = chance.random(count) >= _BAD
        of_templates = self._templates.take(pa.array(picked))
        self.truth.add(of_templates.append_column("time", pa.array(time)).filter(pa.array(good)))
        names = pa.array(np.arange(first, end)).cast(pa.string())
        text = pc.binary_join_element_wise(
            '{"event_id":"', names, '","event_time":', pa.array(time).cast(pa.string()), ",", of_templates["rest"], ""
        )
        value = pc.if_else(pa.array(good), text, _TRUNCATED).cast(pa.binary())
        partition = (picked % self._partitions).astype("int32")
        offset = np.empty(count, dtype="int64")
        for p in self.heads:
            own = partition == p
            offset[own] = self.heads[p] + np.arange(own.sum())
            self.heads[p] += int(own.sum())
        times = pa.array(append_ms * 1000).cast(RAW_SCHEMA.field("append_time").type)
        keys = of_templates["user"].cast(pa.binary())
        return pa.table([partition, offset, times, keys, value, _no_headers(count)], schema=RAW_SCHEMA)


def markers(t: datetime, offsets: Mapping[int, int]) -> pa.Table:
    """The records that seal t, one at these offsets of each partition."""
    told = json.dumps({"t": epoch_ms(t), "partitions": len(offsets)}).encode()
    header = [{"key": MARKER_HEADER, "value": told}]
    at = (epoch_ms(t) + 1) * 1000
    rows = [
        {"partition": p, "offset": o, "append_time": at, "key": None, "value": None, "headers": header}
        for p, o in offsets.items()
    ]
    return pa.Table.from_pylist(rows, schema=RAW_SCHEMA)


def _templates(seed: int) -> pa.Table:
    """What the shop's own producer sends: kind, user, country, page, cents, the user's register and rank, the JSON."""
    source = shop_events(seed, Shares(0, 0, 0), lambda: 0)
    rows = []
    for _, (key, value, _) in zip(range(_TEMPLATES), source, strict=False):
        assert value is not None
        event = json.loads(value)
        del event["event_id"], event["event_time"]
        user = key.decode()
        register, rank = register_and_rank(user)
        cents = int(event["amount"].replace(".", "")) if "amount" in event else None
        told = {"kind": event["event_type"], "user": user, "country": event["country"], "page": event.get("page")}
        rest = json.dumps(event, separators=(",", ":"))[1:]
        rows.append({**told, "cents": cents, "register": register, "rank": rank, "rest": rest})
    return pa.Table.from_pylist(rows)


def _at(columns: pa.Table, step_ms: int) -> pa.Table:
    time = columns["time"].to_numpy()
    return columns.append_column("at", pa.array(time - time % step_ms))


def _summed(rows: pa.Table, keys: list[str], sums: list[tuple[str, str]]) -> pa.Table:
    return rows.group_by(keys).aggregate(sums)


def _again(tables: list[pa.Table], keys: list[str], sums: Mapping[str, str]) -> list[dict]:
    rows = pa.concat_tables(tables).group_by(keys).aggregate(list(sums.items()))
    return (
        rows.select([*keys, *(f"{name}_{how}" for name, how in sums.items())])
        .rename_columns([*keys, *sums])
        .to_pylist()
    )


def _no_headers(count: int) -> pa.Array:
    kind = RAW_SCHEMA.field("headers").type
    return pa.ListArray.from_arrays(np.zeros(count + 1, dtype="int32"), pa.array([], kind.value_type)).cast(kind)
