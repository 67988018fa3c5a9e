"""One arm of the comparison, a process of its own with a warm engine: `python -m tests.bench.batch_arm kernel`.

Told over stdin what to do, one JSON object a line; answers on stdout with one a line. `build` and `kernel` are the
platform's own code in the session that its jobs start; `native` is the same aggregation as somebody would write it by
hand in Spark, with a JVM as Spark comes (its second compiler on, its own collector) and twice the heap; `duckdb` the
same in DuckDB on two threads, over local copies of the files.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import duckdb
from pyspark.sql import functions as f

from jobs import session
from jobs.build_mart import Build
from jobs.carry import collect
from jobs.session import s3a_uri, start_session
from jobs.slices import Span, compute
from lake import kernel
from lake.cuts import EPOCH, Cut, epoch_ms, parse_time
from lake.domain import load_domain
from lake.raw import Raw
from lake.settings import Settings, load_settings

Row = tuple[str, str | None, int, int, int]
"""'order', country, hour (ms), orders, cents; or 'page_view', page, minute (ms), page views, 0."""

_TEXT_SQL = """
WITH texts AS (
    SELECT TRY(decode(value)) AS text FROM read_parquet($files) WHERE {inside}),
events AS (
    SELECT json_extract_string(text, ['$.event_type', '$.event_time', '$.country', '$.page', '$.amount']) AS e
    FROM texts WHERE json_valid(text)),
typed AS (
    SELECT e[1] AS kind, CASE e[1] WHEN 'order' THEN e[3] ELSE e[4] END AS name,
        e[2]::BIGINT // (CASE e[1] WHEN 'order' THEN 3600000 ELSE 60000 END)
            * (CASE e[1] WHEN 'order' THEN 3600000 ELSE 60000 END) AS moment,
        CASE e[1] WHEN 'order' THEN e[5]::DECIMAL(12, 2) END AS amount
    FROM events WHERE e[1] IN ('order', 'page_view'))
SELECT kind, name, moment, count(*), (coalesce(sum(amount), 0) * 100)::BIGINT FROM typed GROUP BY ALL
"""


def inside(end: Cut) -> str:
    """SQL: whether a record lies before the cut."""
    return " OR ".join(f'("partition" = {p} AND "offset" < {offset})' for p, offset in end.items())


class Kernel:
    """The platform's own session and code."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = start_session(settings, "bench")

    def build(self, domain: str, t1: str) -> list[Row]:
        """A whole build: every view's tile, committed."""
        build = Build(self._settings, load_domain(domain, self._settings.domains_dir), parse_time(t1), _say)
        build.run(None, None)
        if build.refused:
            raise build.refused[0]
        return []

    def kernel(self, domain: str, end: Cut, t1: str) -> list[Row]:
        """What a build computes, up to its commits."""
        declared = load_domain(domain, self._settings.domains_dir)
        raw = Raw(self._settings, declared)
        computed = compute(self._session, declared, raw, raw.table(), Span(EPOCH, parse_time(t1), {}, end), {})
        assert computed.parcels is not None
        merger = kernel.Kernel(declared)
        orders, views = (
            merger.merge(name, collect(computed.parcels, name)).to_pylist()
            for name in ("revenue_by_country_hour", "page_views_by_page_minute")
        )
        computed.parcels.unpersist()
        rows: list[Row] = [
            ("order", r["country"], epoch_ms(r["hour"]), r["orders"], int(r["revenue"] * 100)) for r in orders
        ]
        return rows + [("page_view", r["page"], epoch_ms(r["minute"]), r["page_views"], 0) for r in views]


class Native:
    """Spark's own reader, `from_json` and one aggregation that serves both views."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = start_session(settings, "bench")

    def native(self, domain: str, end: Cut, t1: str) -> list[Row]:
        raw = Raw(self._settings, load_domain(domain, self._settings.domains_dir))
        fields = "event_type STRING, event_time BIGINT, country STRING, page STRING, amount DECIMAL(12,2)"
        records = self._session.read.format("delta").load(s3a_uri(raw.uri)).where(inside(end).replace('"', "`"))
        events = records.select(f.from_json(f.col("value").cast("string"), fields).alias("e")).select("e.*")
        order = f.col("event_type") == "order"
        step = f.when(order, 3_600_000).otherwise(60_000)
        counted = (
            events.where(f.col("event_type").isin("order", "page_view"))
            .select(
                "event_type",
                f.when(order, f.col("country")).otherwise(f.col("page")).alias("name"),
                (f.col("event_time") - f.col("event_time") % step).alias("at"),
                f.when(order, f.col("amount")).alias("amount"),
            )
            .groupBy("event_type", "name", "at")
            .agg(f.count("*").alias("events"), f.sum("amount").alias("amount"))
        )
        return [(r.event_type, r.name, r.at, r.events, int((r.amount or 0) * 100)) for r in counted.collect()]


class DuckDB:
    """One process, no Spark and no S3."""

    def __init__(self, settings: Settings) -> None:
        self._db = duckdb.connect(config={"threads": 2})

    def duckdb(self, files: list[str], end: Cut) -> list[Row]:
        return self._db.execute(_TEXT_SQL.format(inside=inside(end)), {"files": files}).fetchall()


ARMS: dict[str, Callable[[Settings], object]] = {"kernel": Kernel, "native": Native, "duckdb": DuckDB}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    kind, settings = sys.argv[1], load_settings()
    if kind == "native":
        session.JVM_OPTIONS = ""
        settings = settings.model_copy(update={"spark_driver_memory": "2g"})
    arm = ARMS[kind](settings)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        work = partial(getattr(arm, call.pop("do")), **call)
        if "end" in call:
            work.keywords["end"] = {int(p): offset for p, offset in call["end"].items()}
        began = time.perf_counter()
        rows = work()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "rows": sorted(rows, key=str)}), flush=True)


if __name__ == "__main__":
    main()
