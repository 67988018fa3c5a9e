"""Lands a domain's log in raw, each record exactly once.

Invariant: the rows of a batch and the positions after it are one Delta commit, written from the very table object
the positions before it were read from. So a commit by anybody else in between makes ours fail, and after any failure
the table alone says where to go on. A second, paused or killed lander can waste work, never land a record twice.
Several share a domain's partitions as groups; what one commits is in nobody else's way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Annotated

import pyarrow.compute as pc
import structlog
import typer
from deltalake import DeltaTable

from lake import metrics
from lake.cuts import Cut
from lake.domain import Domain, load_domain
from lake.errors import BadSettings, LogStopped, exit_on_error
from lake.raw import Raw
from lake.settings import Settings, load_settings
from streaming.gauges import announce_metrics, watch_lander
from streaming.log_reader import Batch, LogReader
from streaming.logs import configure_logs
from streaming.together import run_together, stop_on_signals
from streaming.topic import TopicWatch

log = structlog.get_logger()

_MAX_RECORDS = 100_000
_MAX_BYTES = 32 << 20
_MAX_GATHER_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 10.0
# So many failures without one commit are no passing trouble: let the supervisor, and a person, see it.
_MAX_FAILURES = 10


class Lander:
    """Lands one domain's partitions p with p % groups == group, also those that are added while it runs."""

    def __init__(
        self,
        settings: Settings,
        domain: Domain,
        raw: Raw,
        stop: threading.Event,
        group: int = 0,
        groups: int = 1,
    ) -> None:
        self._settings, self._domain, self._raw, self._stop = settings, domain, raw, stop
        self._group, self._groups = group, groups
        self._watch = TopicWatch(settings, domain.topic)
        self._failures = 0
        self.landed: Cut | None = None
        """The positions that raw held when this lander last knew; None before it first did."""

    def run(self) -> None:
        """Until `stop` is set. Raises LogStopped if the log is not the one raw was filled from."""
        while not self._stop.is_set():
            try:
                self._land()
            except LogStopped:
                raise
            # Whatever failed, even a commit without an answer: the table is loaded anew and says what it holds.
            except Exception as error:
                self._failures += 1
                metrics.LAND_FAILURES.labels(self._domain.name).inc()
                if self._failures >= _MAX_FAILURES:
                    raise
                told = {"domain": self._domain.name, "error": _first_line(error), "failures": self._failures}
                log.warning("landing failed, comparing with raw", **told)
                self._stop.wait(min(0.1 * 2**self._failures, _MAX_BACKOFF_SECONDS))

    def _land(self) -> None:
        """From what raw holds now, until stopped, or until raw or the partitions are not what they were."""
        topic = self._watch.now()
        table = self._raw.create(topic.id)
        landed = dict.fromkeys(self.own(topic.partitions), 0) | self._positions(table)
        self.landed = landed
        log.info("landing", domain=self._domain.name, positions=landed)
        interval = self._settings.land_interval_seconds
        gather = min(interval, _MAX_GATHER_SECONDS)
        with closing(LogReader(self._settings, topic, landed, gather_seconds=gather)) as reader:
            while not self._stop.is_set():
                batch = reader.poll(_MAX_RECORDS, _MAX_BYTES, interval)
                # Only now: the id proves that what was read came from this topic.
                now = self._watch.now(expected_id=topic.id)
                if batch is not None:
                    self._commit(table, batch)
                    self.landed = landed = landed | batch.end
                    log.info("landed", domain=self._domain.name, rows=batch.rows.num_rows, version=table.version())
                    self._failures = 0
                    if (found := self._positions(table)) != _known(landed):
                        log.warning(
                            "another lander is at work", domain=self._domain.name, positions=found, expected=landed
                        )
                        return
                if now.partitions != topic.partitions:
                    log.info("partitions were added", domain=self._domain.name, partitions=len(now.partitions))
                    return

    def own(self, partitions: Iterable[int]) -> list[int]:
        """Those of the partitions that this lander lands."""
        return [p for p in partitions if p % self._groups == self._group]

    def _positions(self, table: DeltaTable) -> Cut:
        positions = self._raw.positions(table)
        return {p: positions[p] for p in self.own(positions)}

    def _commit(self, table: DeltaTable, batch: Batch) -> None:
        name, begun = self._domain.name, time.monotonic()
        self._raw.append(table, batch.rows, batch.end)
        metrics.LAND_COMMIT_SECONDS.labels(name).observe(time.monotonic() - begun)
        metrics.LAND_COMMIT_EVENTS.labels(name).observe(batch.rows.num_rows)
        metrics.LANDED_EVENTS.labels(name).inc(batch.rows.num_rows)
        sizes = [pc.sum(pc.binary_length(batch.rows[column])).as_py() for column in ("key", "value")]
        metrics.LANDED_BYTES.labels(name).inc(sum(filter(None, sizes)))


def _known(positions: Cut) -> Cut:
    """Without partitions that hold nothing: raw does not name them."""
    return {p: offset for p, offset in positions.items() if offset}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def main(
    domain: Annotated[list[str] | None, typer.Option(help="A domain whose topic is landed; several may be.")] = None,
    group: Annotated[int, typer.Option(min=0, help="Which share of the partitions, of --groups.")] = 0,
    groups: Annotated[int, typer.Option(min=1, help="Among how many landers the partitions are shared.")] = 1,
) -> None:
    """Land domains' events in raw until stopped, each in a thread of its own. One that fails ends all."""
    configure_logs()
    with exit_on_error():
        if group >= groups:
            raise BadSettings(
                f"--group {group} of --groups {groups}: groups are counted from 0, so at most {groups - 1}"
            )
        settings = load_settings()
        declared = [load_domain(name, settings.domains_dir) for name in dict.fromkeys(domain or ["shop"])]
        stop = stop_on_signals()
        landers = {each.name: Lander(settings, each, Raw(settings, each), stop, group, groups) for each in declared}
        if announce_metrics(settings):
            for each in declared:
                watch_lander(settings, each, landers[each.name])
        run_together({name: lander.run for name, lander in landers.items()}, stop)
        log.info("stopped", domains=list(landers))


if __name__ == "__main__":
    typer.run(main)
