"""Chunks into the store: the kernel once a chunk, merged into the absolute state of each segment it touches.

Invariant: what is put is the state of [first, next) of its segment, whole. The states kept in memory only save
loading them: they are used where they end exactly at the chunk's start, else they come from the store. So it is with
the events that a chunk's may repeat: where they are not known up to the chunk's start, they are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import redis
import structlog
import tenacity

from lake import metrics
from lake.errors import StoreFull
from lake.kernel import Kernel, decode, encode
from lake.store import Put, SpeedStore
from streaming.pieces import PIECE, Chunk, Run
from streaming.repeats import RepeatFinder

log = structlog.get_logger()

# Without end: while the store is away or full the chunk waits, and with it the reader, so memory stays bounded.
_WAIT = tenacity.wait_exponential(multiplier=0.1, max=5)
until_store_answers = tenacity.retry(
    retry=tenacity.retry_if_exception_type((redis.ConnectionError, redis.TimeoutError)),
    wait=_WAIT,
    before_sleep=lambda attempt: log.warning(
        "the store does not answer", error=str(attempt.outcome.exception() if attempt.outcome else "")
    ),
)


def _say_full(attempt: tenacity.RetryCallState) -> None:
    if attempt.attempt_number == 1:
        log.warning("the store is full, waiting for room", error=str(attempt.outcome and attempt.outcome.exception()))


# Others make the room: builds let go of what they have covered (`jobs/trim.py`), and need no speed layer for it.
until_store_has_room = tenacity.retry(
    retry=tenacity.retry_if_exception_type(StoreFull), wait=_WAIT, before_sleep=_say_full
)


@dataclass(frozen=True)
class _Current:
    """The states of the segment a partition stands in, up to `next`."""

    segment: int
    next: int
    tables: Mapping[str, pa.Table]


class SegmentStates:
    """Puts the chunks of one domain into its store. One a thread, as the kernel it runs.

    `repeats` marks repeated events; None where the domain declares no dedup.
    """

    def __init__(
        self, store: SpeedStore, kernel: Kernel, views: tuple[str, ...], repeats: RepeatFinder | None = None
    ) -> None:
        self._store, self._kernel, self._views, self._repeats = store, kernel, views, repeats
        self._current: dict[int, _Current] = {}

    def put(self, chunk: Chunk) -> set[int]:
        """Store a chunk; the partitions where the store refused it, since it does not stand at the chunk's start."""
        refused: set[int] = set()
        before: dict[int, Mapping[str, pa.Table]] = {}
        for p, run in chunk.runs.items():
            if run.pieces[0].first < run.start:
                tables = self._continued(p, run)
                if tables is None:
                    refused.add(p)
                else:
                    before[run.number] = tables
        if self._repeats is None:
            self._kernel.parse(chunk.rows)
        else:
            self._repeats.parse(chunk)
        merged = self._merge(self._kernel.aggregate(by=(PIECE,), names=self._views), before)
        puts = [self._absolute(chunk, p, run, merged) for p, run in chunk.runs.items() if p not in refused]
        with metrics.STORE_PUT_SECONDS.labels(self._store.domain).time():
            accepted = self._put_all(puts)
        refused |= {p for p, stored in accepted.items() if not stored}
        self._count(chunk, refused)
        for p in refused:
            self._current.pop(p, None)
        return refused

    def _put_all(self, puts: Sequence[Put]) -> dict[int, bool]:
        """By partition, whether the store accepted; once it has said so, that put is not sent again."""
        accepted: dict[int, bool] = {}

        @until_store_has_room
        @until_store_answers
        def put_rest() -> None:
            rest = [put for put in puts if put.partition not in accepted]
            outcomes = zip(rest, self._store.put_all(rest), strict=True)
            accepted.update({put.partition: stored for put, stored in outcomes if stored is not None})
            if len(accepted) < len(puts):
                raise StoreFull

        put_rest()
        return accepted

    def _count(self, chunk: Chunk, refused: set[int]) -> None:
        domain, rows = self._store.domain, chunk.rows
        if refused:
            metrics.REFUSED_PUTS.labels(domain).inc(len(refused))
            rows = rows.filter(pc.invert(pc.is_in(rows["partition"], pa.array(sorted(refused), pa.int32()))))
        metrics.PUT_EVENTS.labels(domain).inc(rows.num_rows)
        bad = self._kernel.quarantined()
        metrics.PUT_BAD.labels(domain).inc(sum(count for p, count in bad.items() if p not in refused))

    def _merge(
        self, states: Mapping[str, pa.Table], before: Mapping[int, Mapping[str, pa.Table]]
    ) -> dict[str, dict[int, pa.Table]]:
        """view -> number of the piece -> its absolute states."""
        merged = {}
        for view in self._views:
            numbered = [_numbered(tables[view], number) for number, tables in before.items()]
            whole = self._kernel.merge(view, [states[view], *numbered], by=(PIECE,)) if numbered else states[view]
            merged[view] = _by_piece(whole)
        return merged

    @until_store_answers
    def _continued(self, partition: int, run: Run) -> Mapping[str, pa.Table] | None:
        """The states the run goes on from; None if the store is no longer there."""
        segment = run.pieces[0].segment
        known = self._current.get(partition)
        if known and (known.segment, known.next) == (segment, run.start):
            return known.tables
        stands = self._store.resume(partition)
        if stands is None or (stands.next_offset, stands.segment) != (run.start, segment):
            return None
        stored = self._store.states(partition, segment)
        # Moved on between the two questions, or trimmed: the put would be refused, or wrong.
        if set(stored) != set(self._views):
            return None
        return {view: decode(state) for view, state in stored.items()}

    def _absolute(self, chunk: Chunk, partition: int, run: Run, merged: Mapping[str, Mapping[int, pa.Table]]) -> Put:
        """A run's pieces with their states, the last of which are kept for the next chunk."""
        tables = [
            {
                view: merged[view][number] if number in merged[view] else self._kernel.schema(view).empty_table()
                for view in self._views
            }
            for number in range(run.number, run.number + len(run.pieces))
        ]
        pieces = [
            replace(piece, states={view: encode(table) for view, table in of_piece.items()})
            for piece, of_piece in zip(run.pieces, tables, strict=True)
        ]
        self._current[partition] = _Current(pieces[-1].segment, pieces[-1].next, tables[-1])
        return Put(partition, run.start, pieces, chunk.topic_id, run.epoch, run.versions)


def _numbered(states: pa.Table, number: int) -> pa.Table:
    return states.add_column(0, PIECE, pa.array([number] * len(states), pa.int64()))


def _by_piece(states: pa.Table) -> dict[int, pa.Table]:
    """States sorted by piece, taken apart."""
    counts = pc.value_counts(states[PIECE])
    rows = states.drop_columns([PIECE])
    parts, at = {}, 0
    for entry in counts:
        number, length = entry["values"].as_py(), entry["counts"].as_py()
        parts[number] = rows.slice(at, length)
        at += length
    return parts
