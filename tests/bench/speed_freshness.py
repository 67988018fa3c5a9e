"""How long an appended event takes to be in the merged answer, and before that in the store, at steady rates.

One thread asks serving for the answer again and again, another the store for its heads; what they are told is there
from when it is told. An event is visible in the first answer whose head lies behind it. When it was appended the broker
says, which stands on the same machine, so both times are of one clock. The events come from a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa

from lake.cuts import Cut
from local.tools import ROOT
from streaming.log_reader import LogReader
from streaming.topic import TopicWatch
from tests.bench.bench_lake import BenchLake
from tests.bench.repeats import Cell, Run, in_turns
from tests.bench.speed_events import SpeedEvents, added, error_of
from tests.bench.speed_own import ours
from tests.bench.speed_run import START_SECONDS, end, wait_for
from tests.bench.speed_stream import VIEWS, Stream, new_stream

PARTITIONS, PAGES, LATE = 4, 50, 0.03
_WARM_EVENTS, _PATIENCE_SECONDS, _REST_SECONDS = 5_000, 60, 0.02


class Looks:
    """`with Looks(ask) as looks: ...`: every answer's time (s) and head, from a thread that asks all the time."""

    def __init__(self, ask: Callable[[], Cut]) -> None:
        self._ask = ask
        self.taken: list[tuple[float, Cut]] = []
        self.failed: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Looks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.failed:
            raise self.failed

    def covers(self, end: Cut) -> bool:
        """Whether an answer was given that holds everything before `end`."""
        return bool(self.taken) and all(self.taken[-1][1].get(p, 0) >= offset for p, offset in end.items())

    def _look(self) -> None:
        try:
            while not self._over.is_set():
                head = self._ask()
                self.taken.append((time.time(), head))
                self._over.wait(_REST_SECONDS)
        except BaseException as error:
            self.failed = error


def measure_freshness(
    lake: BenchLake, rates: Sequence[int], seconds: float, repeats: int
) -> Iterator[tuple[str, dict]]:
    """At each rate for so long, a speed job and a topic of its own each time."""
    cells = [
        Cell(f"{rate} events a second", {"rate": rate, "span_seconds": seconds}, partial(_fresh, lake, rate, seconds))
        for rate in rates
    ]
    return in_turns(cells, repeats)


def _fresh(lake: BenchLake, rate: int, seconds: float) -> Run:
    with new_stream(lake, PARTITIONS) as stream:
        warm = SpeedEvents(_WARM_EVENTS, PARTITIONS, seed=1)
        stream.feed(warm)
        process = ours().start(stream)
        try:
            wait_for(lambda: stream.records_put() == _WARM_EVENTS, process, stream, START_SECONDS)
            before = _ends(stream)
            live = {
                **{"count": int(rate * seconds), "partitions": PARTITIONS, "seed": 3, "late": LATE},
                **{"start_ms": time.time_ns() // 1_000_000, "span_ms": int(seconds * 1000), "pages": PAGES},
            }
            with Looks(lambda: _merged(stream)) as looks, Looks(stream.heads) as heads:
                _send(stream, live, rate)
                after = _ends(stream)
                wait_for(lambda: looks.covers(after), process, stream, _PATIENCE_SECONDS)
        finally:
            end(process)
        milliseconds, until_stored = (_waited(stream, each, before, after) for each in (looks, heads))
        error = error_of(stream.served(), added(warm.truth, SpeedEvents(**live).truth))
    p50, p99 = np.percentile(milliseconds, [50, 99])
    store_p50, store_p99 = np.percentile(until_stored, [50, 99])
    look_p50, look_p99 = np.percentile(np.diff([at for at, _ in looks.taken]) * 1000, [50, 99])
    return {
        "events": len(milliseconds),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(milliseconds.max()), 1),
        "store_p50_ms": round(float(store_p50), 1),
        "store_p99_ms": round(float(store_p99), 1),
        "looks": len(looks.taken),
        "look_p50_ms": round(float(look_p50), 1),
        "look_p99_ms": round(float(look_p99), 1),
        "error": error.share,
    }


def _merged(stream: Stream) -> Cut:
    return stream.serving.answer(VIEWS[1]).head


def _send(stream: Stream, live: dict, rate: int) -> None:
    told = {"bootstrap": stream.settings.kafka_bootstrap, "topic": stream.domain.topic, "rate": rate, **live}
    command = [sys.executable, "-m", "tests.bench.speed_feed"]
    subprocess.run(command, cwd=ROOT, input=json.dumps(told), text=True, check=True)


def _ends(stream: Stream) -> Cut:
    watch = TopicWatch(stream.settings, stream.domain.topic)
    return watch.ends(watch.now())


def _waited(stream: Stream, looks: Looks, before: Cut, after: Cut) -> np.ndarray:
    """Milliseconds from the append of each record in [before, after) to the first answer that holds it."""
    rows = _appended(stream, before, after)
    at = np.array([time for time, _ in looks.taken]) * 1000
    waited = []
    for p in after:
        heads = np.array([head.get(p, 0) for _, head in looks.taken])
        assert all(a <= b for a, b in pairwise(heads)), "a head went back"
        own = rows.filter(pa.compute.equal(rows["partition"], p))
        seen = at[np.searchsorted(heads, own["offset"].to_numpy(), side="right")]
        waited.append(seen - own["append_time"].cast(pa.int64()).to_numpy() / 1000)
    return np.concatenate(waited)


def _appended(stream: Stream, before: Cut, after: Cut) -> pa.Table:
    batches = []
    topic = TopicWatch(stream.settings, stream.domain.topic).now()
    with closing(LogReader(stream.settings, topic, before)) as reader:
        while any(reader.positions[p] < offset for p, offset in after.items()):
            if batch := reader.poll(50_000, 1 << 28, 1):
                batches.append(batch.rows.select(["partition", "offset", "append_time"]))
    return pa.concat_tables(batches)
