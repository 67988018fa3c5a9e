"""How long a query of a few rows of a large merged view takes: a mart of millions of users, an hour of segments behind.

Clients are threads that ask SQL one query after the other, each for another user, while a process of its own goes on
putting segments of other users. Each answer is compared with the truth, and the error is the share of answers that are
not it: the rows of mart and segments are functions of their numbers, so it is found by asking those functions. The
events are invented, so no broker takes part.
"""

from __future__ import annotations

import multiprocessing
import random
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from statistics import quantiles

import duckdb
import pyarrow as pa

from lake.cuts import EPOCH, Cut, epoch_ms
from lake.domain import Domain
from lake.kernel import QUARANTINE, Kernel, encode
from lake.marts import Manifest, mart_uri
from lake.settings import Settings
from lake.sql import Prompt
from lake.store import Piece, SpeedStore
from tests.bench.bench_lake import T0, BenchLake
from tests.bench.repeats import Cell, Run, in_turns

PARTITIONS, MINUTES, EVENTS_A_SECOND, FEEDS_A_SECOND = 4, 60, 2_000, 10
EVENTS_A_SEGMENT = EVENTS_A_SECOND * 60 // PARTITIONS
CLIENTS, ASKED, TOPIC_ID, VIEW = 8, 2_000, "topic-1", "spent_by_user"
_CUT: Cut = dict.fromkeys(range(PARTITIONS), 1_000_000)

_MART = """SELECT format('u{{:08d}}', i) AS user_id, i % 7 + 1 AS orders, (i * 37 % 10000 + 100) / 100 AS spent
    FROM range({users}) r(i)"""
# Which users a segment's events are of; each spends one.
_SEGMENT = "SELECT format('u{{:08d}}', ({number} * 30011 + i * 7919) % {users}) AS user_id FROM range({events}) r(i)"


@dataclass(frozen=True)
class Made:
    """The mart and the segments are there; `truth` has (orders, spent) of the users that are asked for."""

    settings: Settings
    domain: Domain
    truth: dict[str, tuple[int, float]]


def measure_query(lake: BenchLake, users: int, seconds: float, repeats: int) -> Iterator[tuple[str, dict]]:
    """Each time with a copy of the mart and segments that are made anew."""
    name = f"{users:,} rows and {MINUTES} minutes at {EVENTS_A_SECOND:,} events a second"
    return in_turns([Cell(name, {"rows": users, "clients": CLIENTS}, partial(_queried, lake, users, seconds))], repeats)


def _queried(lake: BenchLake, users: int, seconds: float) -> Run:
    made = _made(lake, users)
    stop = multiprocessing.get_context("spawn").Event()
    feeder = multiprocessing.get_context("spawn").Process(target=_feed, args=(made.settings, made.domain, stop))
    feeder.start()
    try:
        prompt = Prompt(made.settings, {made.domain.name: made.domain})
        began = time.perf_counter()
        wrong = 1 - _ask(prompt, made, random.Random(0))
        cold = time.perf_counter() - began
        _clients(prompt, made, min(3.0, seconds))
        before = time.process_time(), time.perf_counter()
        answers = _clients(prompt, made, seconds)
        cpu, wall = time.process_time() - before[0], time.perf_counter() - before[1]
    finally:
        stop.set()
        feeder.join()
    taken = [took for took, _ in answers]
    wrong += sum(not right for _, right in answers)
    cuts = quantiles(taken, n=100, method="inclusive")
    return {
        "queries": len(taken),
        "queries_per_second": round(len(taken) / wall, 1),
        "cpu_ms_per_query": round(1000 * cpu / len(taken), 2),
        "cold_ms": round(1000 * cold, 1),
        "p50_ms": round(1000 * cuts[49], 2),
        "p99_ms": round(1000 * cuts[98], 2),
        "max_ms": round(1000 * max(taken), 2),
        "error": wrong / (1 + len(taken)),
    }


def _clients(prompt: Prompt, made: Made, seconds: float) -> list[tuple[float, bool]]:
    """How long each query took, and whether its answer was the truth; raises what a client has met."""
    taken: list[tuple[float, bool]] = []
    failed: list[BaseException] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        source = random.Random(number)
        try:
            while time.perf_counter() < end:
                began = time.perf_counter()
                right = _ask(prompt, made, source)
                taken.append((time.perf_counter() - began, right))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=client, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return taken


def _ask(prompt: Prompt, made: Made, source: random.Random) -> bool:
    """Ask for one user: whether the answer is the truth."""
    user = source.choice(list(made.truth))
    rows = prompt.query(f"SELECT orders, spent FROM {VIEW} WHERE user_id = '{user}'").to_pylist()
    return [(row["orders"], float(row["spent"])) for row in rows] == [made.truth[user]]


def _made(lake: BenchLake, users: int) -> Made:
    domain = lake.declare(f"query_{secrets.token_hex(4)}", _one_view)
    kernel, settings = Kernel(domain), lake.settings
    for view in [VIEW, QUARANTINE]:
        definition, schema = kernel.definition_hash(view), kernel.schema(view)
        states = _rows(_MART.format(users=users), schema) if view == VIEW else schema.empty_table()
        manifest = Manifest(
            t0=EPOCH, t1=T0, cut_start={}, cut_end=_CUT, definition_hash=definition, rows=len(states), events=0, good=0,
            quarantined=0, markers=0, build_id="bench",
        )  # fmt: skip
        lake.write_tile(mart_uri(settings, domain.name, view, definition), manifest, states)
    store = _store(settings, domain, kernel)
    for partition in range(PARTITIONS):
        store.open(partition, _CUT[partition], TOPIC_ID)
        for minute in range(MINUTES):
            rows = _segment(partition, minute, users, kernel.schema(VIEW))
            _put(store, partition, minute, 0, EVENTS_A_SEGMENT, encode(rows))
    return Made(settings, domain, _truth(users))


def _feed(settings: Settings, domain: Domain, stop: threading.Event) -> None:
    """The segments after those, of users that nobody asks for, until stopped."""
    kernel = Kernel(domain)
    store, schema = _store(settings, domain, kernel), kernel.schema(VIEW)
    sql = f"SELECT format('v{{:08d}}', i) AS user_id, 1 AS orders, 1 AS spent FROM range({EVENTS_A_SEGMENT}) r(i)"
    rows, step, minute = _rows(sql, schema), EVENTS_A_SECOND // PARTITIONS // FEEDS_A_SECOND, MINUTES
    while not stop.is_set():
        for done in range(0, EVENTS_A_SEGMENT, step):
            if stop.wait(1 / FEEDS_A_SECOND):
                return
            for partition in range(PARTITIONS):
                _put(store, partition, minute, done, done + step, encode(rows.slice(0, done + step)))
        minute += 1


def _put(store: SpeedStore, partition: int, minute: int, done: int, end: int, states: bytes) -> None:
    at, first = epoch_ms(T0 + timedelta(minutes=minute)), _CUT[partition] + minute * EVENTS_A_SEGMENT
    piece = Piece(at, first, first + end, at + 59_000, {VIEW: states})
    assert store.put(partition, first + done, [piece], TOPIC_ID, 0)


def _truth(users: int) -> dict[str, tuple[int, float]]:
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE mart AS {_MART.format(users=users)}")
        numbers = range(PARTITIONS * MINUTES)
        events = (_SEGMENT.format(number=number, users=users, events=EVENTS_A_SEGMENT) for number in numbers)
        db.execute(f"CREATE TABLE tail AS {' UNION ALL '.join(events)}")
        db.execute(f"CREATE TABLE asked AS SELECT user_id FROM tail USING SAMPLE {ASKED} ROWS (reservoir, 1)")
        sql = """SELECT user_id, any_value(mart.orders) + count(*), any_value(mart.spent) + count(*)
            FROM (SELECT * FROM tail SEMI JOIN asked USING (user_id)) JOIN mart USING (user_id) GROUP BY user_id"""
        return {user: (orders, round(float(spent), 2)) for user, orders, spent in db.execute(sql).fetchall()}


def _segment(partition: int, minute: int, users: int, schema: pa.Schema) -> pa.Table:
    events = _SEGMENT.format(number=partition * MINUTES + minute, users=users, events=EVENTS_A_SEGMENT)
    return _rows(f"SELECT user_id, count(*) AS orders, count(*) AS spent FROM ({events}) GROUP BY 1 ORDER BY 1", schema)


def _rows(sql: str, schema: pa.Schema) -> pa.Table:
    with duckdb.connect() as db:
        columns = ", ".join(f'"{field.name}"::{_TYPES[str(field.type)]} AS "{field.name}"' for field in schema)
        return db.sql(f"SELECT {columns} FROM ({sql})").to_arrow_table().cast(schema)


_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "decimal128(38, 2)": "DECIMAL(38, 2)"}


def _store(settings: Settings, domain: Domain, kernel: Kernel) -> SpeedStore:
    return SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)


def _one_view(declared: dict) -> dict:
    """The shop with one view, of its users."""
    view = {
        "where": "event_type = 'order'",
        "group_by": {"user_id": "user_id"},
        "measures": {"orders": "count", "spent": {"sum": "amount"}},
    }
    kept = {name: value for name, value in declared.items() if name != "dimensions"}
    return kept | {"views": {VIEW: view}, "partitions": PARTITIONS}
