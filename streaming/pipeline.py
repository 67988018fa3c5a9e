"""The speed layer as a Beam pipeline: groups of partitions -> chunks -> kernel -> store.

Invariant: the store is the only checkpoint. Elements are chunks of thousands of records, so Beam's cost an element
is paid once for all of them; whatever the runner loses, repeats or doubles, the store's compare-and-set refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
_REST = 2
_REPORT_SECONDS = 10

_RESTRICTION = beam.DoFn.RestrictionParam(PositionsProvider())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())

_readers: dict[tuple[str, str, int], GroupReader] = {}
"""Of this process, by domain, generation and group: where a refused put finds the reader that has to open anew."""


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
    """A group's number -> its chunks, for ever.

    `read_settings` is called where this runs, so that no secret is in what a runner is given. Each instance opens a
    reader of its own at where the store stands: a runner makes a new one after whatever has failed. After
    `bundle_seconds` it hands the rest back to the runner.
    """

    def __init__(
        self,
        read_settings: Callable[[], Settings],
        domain: Domain,
        generation: str,
        group: int,
        groups: int,
        bundle_seconds: float,
    ) -> None:
        self._read_settings, self._domain = read_settings, domain
        self.group, self._groups, self._bundle_seconds = group, groups, bundle_seconds
        self._key = (domain.name, generation, group)

    def setup(self) -> None:
        settings, kernel = self._read_settings(), Kernel(self._domain)
        store = speed_store(settings, self._domain, kernel)
        self._reader = GroupReader(
            settings, self._domain, store, lambda: frontier(settings, self._domain, kernel), self.group, self._groups
        )

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        group: int,
        tracker: Any = _RESTRICTION,
        watermark: Any = _WATERMARK,
    ) -> Iterator[TimestampedValue]:
        reader = _readers[self._key] = self._reader
        if _ordered(reader.positions) != tracker.current_restriction()[0]:
            reader.close()
        seconds = _POLL_SECONDS
        end: float | None = None
        while end is None or time.monotonic() < end:
            chunk = _poll(reader, seconds)
            # From here on: the first poll opens, and where that alone took so long, no chunk would ever be read.
            end = end or time.monotonic() + self._bundle_seconds
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

    def teardown(self) -> None:
        if _readers.get(self._key) is self._reader:
            del _readers[self._key]
        self._reader.close()


class PutStates(beam.DoFn):
    """Chunks -> the store; then (group, how many records). `read_settings` as in ReadGroup."""

    def __init__(self, read_settings: Callable[[], Settings], domain: Domain, generation: str) -> None:
        self._read_settings, self._domain, self._generation = read_settings, domain, generation

    def setup(self) -> None:
        settings = self._read_settings()
        kernel = Kernel(self._domain, Dimensions(settings).table)
        store = speed_store(settings, self._domain, kernel)
        dedup, past = self._domain.dedup, History(settings, self._domain)
        repeats = RepeatFinder(kernel, dedup, settings.segment_seconds, past) if dedup else None
        self._states = SegmentStates(store, kernel, tuple(self._domain.stored_views), repeats)

    def process(self, chunk: Chunk) -> Iterator[tuple[int, int]]:
        with metrics.CHUNK_SECONDS.labels(self._domain.name).time():
            refused = self._states.put(chunk)
        metrics.CHUNK_EVENTS.labels(self._domain.name).observe(chunk.rows.num_rows)
        if refused:
            self._open_anew(chunk.group, refused)
        yield chunk.group, chunk.rows.num_rows

    def _open_anew(self, group: int, refused: set[int]) -> None:
        """Where a runner has put the reader elsewhere, it has to begin anew with both: so does its new reader."""
        reader = _readers.get((self._domain.name, self._generation, group))
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


class KeepGroup(beam.PTransform):
    """All that is done for one group of a generation of a domain.

    Prism spins half a core unless a GroupByKey follows the reader; here it counts.
    """

    def __init__(self, reader: ReadGroup, putter: PutStates, domain: str) -> None:
        super().__init__()
        self._reader, self._putter, self._domain = reader, putter, domain

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | "group" >> beam.Create([self._reader.group], reshuffle=False)
            | "read" >> beam.ParDo(self._reader)
            | "put" >> beam.ParDo(self._putter)
            | "window" >> beam.WindowInto(FixedWindows(_REPORT_SECONDS))
            | "count" >> beam.CombinePerKey(sum)
            | "report" >> beam.ParDo(ReportRate(self._domain))
        )


def build(
    pipeline: beam.Pipeline,
    read_settings: Callable[[], Settings],
    domain: Domain,
    generation: str,
    groups: int,
    bundle_seconds: float,
    workers: int,
) -> None:
    """A branch for each group of a generation of a domain: transforms of its own, since a transform does one element
    at a time. The groups take turns over `workers`.
    """
    for group in range(groups):
        reader = ReadGroup(read_settings, domain, generation, group, groups, bundle_seconds)
        putter = PutStates(read_settings, domain, generation)
        branch: beam.PTransform = KeepGroup(reader, putter, domain.name)
        if workers > 1:
            # To Beam, transforms with other hints are of another environment, and Flink starts a worker for each.
            branch = branch.with_resource_hints(min_ram=f"{1 + group % workers}MB")
        _ = pipeline | f"{domain.name} {generation} {group}" >> branch


def _poll(reader: GroupReader, seconds: float) -> Chunk | None:
    try:
        return reader.poll(seconds)
    except TidemarkError as error:
        # A runner would show it as the last line of its own long trace.
        log.error("reading stopped", reason=f"{type(error).__name__}: {error}")
        raise


def _ordered(positions: Cut) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(positions.items()))
