"""Beam's Python SDK on Prism as its documentation shows it: an element an event, fixed windows, CombinePerKey.

The one thing of our own is the reader, since `ReadFromKafka` is a Java transform: an unbounded splittable DoFn that
yields the messages one by one. Windows are of a second of processing time, so none is late; each adds to the answer.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from socket import socket
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp
from confluent_kafka import Consumer, TopicPartition
from counted import Answer, Told, counted, read_told

_BUNDLE_SECONDS, _POLL_SECONDS, _MESSAGES, _ROWS = 1.0, 0.05, 1_000, 1_000
_consumers: dict[str, Any] = {}
_lock = threading.Lock()


class Endless(RestrictionTracker):
    """How many messages were read; it splits only where it stands."""

    def __init__(self, restriction: tuple[int, bool]) -> None:
        self._read, self._ended = restriction

    def current_restriction(self) -> tuple[int, bool]:
        return self._read, self._ended

    def try_claim(self, position: int) -> bool:
        if self._ended:
            return False
        self._read = position
        return True

    def try_split(self, fraction: float) -> tuple | None:
        if fraction or self._ended:
            return None
        self._ended = True
        return (self._read, True), (self._read, False)

    def check_done(self) -> None:
        if not self._ended:
            raise ValueError("an endless stream is not done")

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(fraction=0.0)

    def is_bounded(self) -> bool:
        return False


class EndlessProvider(RestrictionProvider):
    def initial_restriction(self, element: Any) -> tuple[int, bool]:
        return 0, False

    def create_tracker(self, restriction: tuple[int, bool]) -> Endless:
        return Endless(restriction)

    def restriction_size(self, element: Any, restriction: tuple[int, bool]) -> int:
        return 1

    def truncate(self, element: Any, restriction: tuple[int, bool]) -> None:
        return None


class ReadTopic(beam.DoFn):
    """Told -> the values of its topic's messages, for ever."""

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        told: Told,
        tracker: Any = beam.DoFn.RestrictionParam(EndlessProvider()),  # noqa: B008
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),  # noqa: B008
    ) -> Iterator[TimestampedValue]:
        consumer = _consumer(told)
        read = tracker.current_restriction()[0]
        end = time.monotonic() + _BUNDLE_SECONDS
        while time.monotonic() < end:
            messages = consumer.consume(_MESSAGES, _POLL_SECONDS)
            read += len(messages)
            if messages and not tracker.try_claim(read):
                raise RuntimeError("split while reading: what was consumed would be lost")
            now = Timestamp(time.time())
            for message in messages:
                yield TimestampedValue(message.value(), now)
            watermark.set_watermark(now)
        tracker.defer_remainder(Duration(0))


class SumPairs(beam.CombineFn):
    """Events and cents."""

    def create_accumulator(self) -> tuple[int, int]:
        return 0, 0

    def add_input(self, total: tuple[int, int], cents: int) -> tuple[int, int]:
        return total[0] + 1, total[1] + cents

    def merge_accumulators(self, totals: Any) -> tuple[int, int]:
        events, cents = zip(*totals, strict=True)
        return sum(events), sum(cents)

    def extract_output(self, total: tuple[int, int]) -> tuple[int, int]:
        return total


class AddToAnswer(beam.DoFn):
    def __init__(self, told: Told) -> None:
        self._told = told

    def setup(self) -> None:
        self._answer = Answer(self._told)

    def start_bundle(self) -> None:
        self._rows: list[tuple[str, int, int]] = []

    def process(self, row: tuple[str, tuple[int, int]]) -> None:
        self._rows.append((row[0], *row[1]))
        if len(self._rows) >= _ROWS:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        self._answer.add(self._rows)
        self._rows = []


def _consumer(told: Told) -> Any:
    """One for the process, which goes on where the bundle before ended."""
    with _lock:
        if told.topic not in _consumers:
            consumer = Consumer(
                {
                    "bootstrap.servers": told.bootstrap,
                    "group.id": "stock-beam",
                    "enable.auto.commit": False,
                    "fetch.queue.backoff.ms": 5,
                }
            )
            consumer.assign([TopicPartition(told.topic, p, 0) for p in range(told.partitions)])
            _consumers[told.topic] = consumer
        return _consumers[told.topic]


def _read_row(value: bytes) -> list[tuple[str, int]]:
    row = counted(value)
    return [] if row is None else [row]


def main() -> None:
    told = read_told()
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.Popen([told.prism, "--job_port", str(port), "--serve_http=false", "--log_level=warn"])
    time.sleep(2)
    options = [
        *("--runner=PrismRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK", "--streaming"),
        "--job_server_timeout=86400",
    ]
    pipeline = beam.Pipeline(options=PipelineOptions(options))
    (
        pipeline
        | "topic" >> beam.Create([told], reshuffle=False)
        | "read" >> beam.ParDo(ReadTopic())
        | "parse" >> beam.FlatMap(_read_row)
        | "window" >> beam.WindowInto(FixedWindows(1))
        | "count" >> beam.CombinePerKey(SumPairs())
        | "put" >> beam.ParDo(AddToAnswer(told))
    )
    pipeline.run().wait_until_finish()
    sys.exit(1)


if __name__ == "__main__":
    import stock_beam  # by its name, not as __main__: Beam would pickle that with all its globals

    stock_beam.main()
