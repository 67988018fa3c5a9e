"""Which records of a source are routed, and under which key, as a domain's `sources` declare.

Invariant: a record is routed once, by the first of its source's rules that holds, its bytes untouched; a marker never,
nor what came from the target itself. `where` sees what a view with that `where` would: an event whose fields in it are
good. A rule without one takes every record, readable or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from lake import expressions
from lake.domain import Domain, Source
from lake.headers import read_header
from lake.parse import MARKER_HEADER, parse_sql, usable
from lake.raw_schema import RAW_SCHEMA
from streaming.produce import Header
from streaming.topic import Topic

SOURCE_HEADER = "tidemark-source"
"""Where a routed record comes from: {"topic": id, "partition": p, "offset": o}; the last one, if it came a long way."""

Place = tuple[str, int, int]
"""(topic id, partition, offset)."""


@dataclass(frozen=True)
class Routed:
    """A record as it is to be sent."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class Selection:
    """The rules of one target for one source. One a thread; not to be shared."""

    def __init__(self, source: Domain, rules: Sequence[Source]) -> None:
        self._db = duckdb.connect(config={"threads": 1, "memory_limit": "512MB"})
        self._db.execute("SET TimeZone = 'UTC'")
        self._db.register("batch", RAW_SCHEMA.empty_table())
        self._sql = _sql(source, rules)
        self._db.sql(self._sql)  # binds it: what is wrong is said before anything is read

    def of(self, rows: pa.Table, source: Topic, target: Topic) -> Iterator[Routed]:
        """The records of RAW_SCHEMA that are routed, each partition's in order."""
        self._db.register("batch", rows)
        chosen = self._db.sql(self._sql).to_arrow_table()
        for partition, offset, key, value, headers in zip(*(column.to_pylist() for column in chosen), strict=True):
            kept = [(header["key"], header["value"]) for header in headers or () if header["key"] != MARKER_HEADER]
            if not any(name == SOURCE_HEADER and _topic(told) == target.id for name, told in kept):
                place = (source.id, partition, offset)
                yield Routed(place, key, value, [*kept, (SOURCE_HEADER, _written(place))])


def place_of(headers: Sequence[dict] | None) -> Place | None:
    """Where a record of a target came from; None if no router sent it."""
    told = [header["value"] for header in headers or () if header["key"] == SOURCE_HEADER]
    found = read_header(told[-1], topic=str, partition=int, offset=int) if told else None
    return (found["topic"], found["partition"], found["offset"]) if found else None


def _written(place: Place) -> bytes:
    return b'{"topic":"%b","partition":%d,"offset":%d}' % (place[0].encode(), place[1], place[2])


def _topic(told: bytes | None) -> str | None:
    place = place_of([{"key": SOURCE_HEADER, "value": told}])
    return place and place[0]


def _sql(source: Domain, rules: Sequence[Source]) -> str:
    conditions = [_condition(source, rule.where) for rule in rules]
    keys = [f"encode(TRY(({rule.key})::VARCHAR))" if rule.key else '"key"' for rule in rules]
    rule = " ".join(f"WHEN {condition} THEN {number}" for number, condition in enumerate(conditions))
    key = " ".join(f"WHEN {number} THEN {key}" for number, key in enumerate(keys))
    return f"""
WITH parsed AS ({parse_sql(source, "batch")}),
ruled AS (SELECT *, CASE {rule} END AS "of:rule" FROM parsed)
SELECT "partition", "offset", coalesce(CASE "of:rule" {key} END, "key"), "value", "headers" FROM ruled
WHERE "of:rule" IS NOT NULL
  AND NOT ("value" IS NULL AND len(list_filter(coalesce("headers", []), lambda h: h.key = '{MARKER_HEADER}')) > 0)
ORDER BY "partition", "offset\""""


def _condition(source: Domain, where: str | None) -> str:
    if where is None:
        return "true"
    return f"({usable(source, expressions.columns_of(where))}) AND coalesce(TRY(({where})), false)"
