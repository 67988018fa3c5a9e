"""The speed layer as a Beam pipeline: groups of partitions -> chunks -> kernel -> store.

Invariant: the store is the only checkpoint. Elements are chunks of thousands of records, so Beam's cost an element
is paid once for all of them; whatever the runner loses, repeats or doubles, the store's compare-and-set refuses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import structlog
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from lake import metrics
from lake.cuts import Cut
from lake.dimensions import Dimensions
from lake.domain import Domain
from lake.errors import StoreFenced, TidemarkError
from lake.kernel import Kernel
from lake.marts import announced_before, tiles_by_view
from lake.settings import Settings
from lake.store import SpeedStore
from streaming.group_reader import Frontier, GroupReader
from streaming.history import History
from streaming.pieces import Chunk
from streaming.positions import PositionsProvider
from streaming.repeats import RepeatFinder
from streaming.states import SegmentStates

log = structlog.get_logger()

_POLL_SECONDS = 0.02
# How much longer than a chunk's CPU time the next one is gathered, times the readers that share the process; a backlog
# fills a chunk at once and never waits.
_REST = 3
# After so long a bundle hands the rest back to the runner, which starts it again at once.
_BUNDLE_SECONDS = 1.0
_REPORT_SECONDS = 10

_RESTRICTION = beam.DoFn.RestrictionParam(PositionsProvider())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())

_readers: dict[tuple[str, str, str, int], GroupReader] = {}
"""Readers are kept open between bundles, and are where a refused put finds the reader that has to open anew."""
_readers_lock = threading.Lock()


def frontier(settings: Settings, domain: Domain, kernel: Kernel) -> Frontier:
    """Where speed states have to begin: at the smallest frontier of the domain's marts."""
    runs = list(tiles_by_view(settings, domain.name, kernel, domain.stored_views).values())
    if not runs or not all(runs):
        return {}, {}
    first = min((run[-1] for run in runs), key=lambda tile: tile.t1)
    return first.cut_end, announced_before(first.t1, runs)


def speed_store(settings: Settings, domain: Domain, kernel: Kernel) -> SpeedStore:
    return SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)


class ReadGroup(beam.DoFn):
    """(group, groups) -> its chunks, for ever."""

    def __init__(self, settings: Settings, domain: Domain, generation: str) -> None:
        self._settings, self._domain = settings, domain
        self._key = (settings.store_url.get_secret_value(), domain.name, generation)

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        element: tuple[int, int],
        tracker: Any = _RESTRICTION,
        watermark: Any = _WATERMARK,
    ) -> Iterator[TimestampedValue]:
        reader = self._reader(*element)
        if _ordered(reader.positions) != tracker.current_restriction()[0]:
            reader.close()
        seconds = _POLL_SECONDS
        end = time.monotonic() + _BUNDLE_SECONDS
        while time.monotonic() < end:
            chunk = _poll(reader, seconds)
            seconds = _POLL_SECONDS
            if chunk is not None:
                if not tracker.try_claim(_ordered(reader.positions)):
                    reader.close()
                    return
                begun = time.thread_time()
                yield TimestampedValue(chunk, Timestamp(time.time()))
                # A chunk costs the same for few events as for many, so a slow stream is left to gather some: by the
                # time it worked, not the time it waited, or a busy machine would make it rest the longer.
                seconds = max(seconds, _REST * len(_readers) * (time.thread_time() - begun))
            watermark.set_watermark(Timestamp(time.time()))
        tracker.defer_remainder(Duration(0))

    def _reader(self, group: int, groups: int) -> GroupReader:
        with _readers_lock:
            key = (*self._key, group)
            if key not in _readers:
                kernel = Kernel(self._domain)
                _readers[key] = GroupReader(
                    self._settings,
                    self._domain,
                    speed_store(self._settings, self._domain, kernel),
                    lambda: frontier(self._settings, self._domain, kernel),
                    group,
                    groups,
                )
            return _readers[key]


class PutStates(beam.DoFn):
    """Chunks -> the store; then (group, how many records)."""

    def __init__(self, settings: Settings, domain: Domain, generation: str) -> None:
        self._settings, self._domain = settings, domain
        self._key = (settings.store_url.get_secret_value(), domain.name, generation)

    def setup(self) -> None:
        kernel = Kernel(self._domain, Dimensions(self._settings).table)
        store = speed_store(self._settings, self._domain, kernel)
        dedup, past = self._domain.dedup, History(self._settings, self._domain)
        repeats = RepeatFinder(kernel, dedup, self._settings.segment_seconds, past) if dedup else None
        self._states = SegmentStates(store, kernel, tuple(self._domain.stored_views), repeats)

    def process(self, chunk: Chunk) -> Iterator[tuple[int, int]]:
        with metrics.CHUNK_SECONDS.labels(self._domain.name).time():
            refused = self._states.put(chunk)
        metrics.CHUNK_EVENTS.labels(self._domain.name).observe(chunk.rows.num_rows)
        if refused:
            self._open_anew(chunk.group, refused)
        yield chunk.group, chunk.rows.num_rows

    def _open_anew(self, group: int, refused: set[int]) -> None:
        reader = _readers.get((*self._key, group))
        if reader is None:
            raise StoreFenced(
                f"the store refused a chunk of partitions {sorted(refused)} of '{self._domain.name}': another reader "
                "has moved on, and ours runs elsewhere; the runner has to start the bundle again"
            )
        log.warning("the store stands elsewhere, opening anew", group=group, partitions=sorted(refused))
        reader.close()


class ReportRate(beam.DoFn):
    def __init__(self, domain: str) -> None:
        self._domain = domain

    def process(self, counted: tuple[int, int]) -> None:
        log.info("events put", domain=self._domain, group=counted[0], events=counted[1], seconds=_REPORT_SECONDS)


def build(pipeline: beam.Pipeline, settings: Settings, domain: Domain, generation: str, groups: int) -> None:
    """A branch for one generation of a domain: transforms of its own, since a transform does one element at a time.

    Prism spins half a core unless a GroupByKey follows the reader; here it counts.
    """
    name = f"{domain.name} {generation}"
    (
        pipeline
        | f"groups {name}" >> beam.Create([(group, groups) for group in range(groups)], reshuffle=False)
        | f"read {name}" >> beam.ParDo(ReadGroup(settings, domain, generation))
        | f"put {name}" >> beam.ParDo(PutStates(settings, domain, generation))
        | f"window {name}" >> beam.WindowInto(FixedWindows(_REPORT_SECONDS))
        | f"count {name}" >> beam.CombinePerKey(sum)
        | f"report {name}" >> beam.ParDo(ReportRate(domain.name))
    )


def _poll(reader: GroupReader, seconds: float) -> Chunk | None:
    try:
        return reader.poll(seconds)
    except TidemarkError as error:
        # A runner would show it as the last line of its own long trace.
        log.error("reading stopped", reason=f"{type(error).__name__}: {error}")
        raise


def _ordered(positions: Cut) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(positions.items()))
