"""Routes events between topics, each exactly once: a domain's `sources` copy, filter, split, shard or merge others.

Invariant: every record of a source that is routed stands once in the target, in the source partition's order within
each partition of the target, though this process is killed anywhere.

Kafka's own transactions would leave gaps in the target's offsets, which raw does not have. So each routed record says
in its header `tidemark-source` where it comes from, and the target's own log is the truth about what was routed:

* `routes/<domain>` (streaming/progress.py) says: all before the sources' positions P is in the target; what was routed
  from P on stands at or behind the target's offsets E. It is committed only after all was acknowledged. It only saves
  time: without it the way back is all that Kafka has of both.
* Who begins reads the target from E to its end, notes each place of a source that is there, goes back to P, and sends
  what is not noted. What is noted need not be complete, nor of one order, over the partitions.

Two routers of one target: the claim in that table is checked before each batch and every moment of a long one, and who
is not its holder ends with RouteTaken. A newcomer that sees the other at work ends, so it can stand by under a
supervisor; one that sees nothing move claims, and waits `grace` seconds before it reads back. That is exact if what a
router sends is in the log, or lost, `grace` seconds after the claim: without a fence in the broker nobody can promise
that of a process that is frozen between check and send for longer, and then goes on. Headers show doubles, if any.

A source that is named for the first time is routed from where Kafka's log of it begins. Rules are those of the live
version of the target when this process starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from typing import Annotated

import structlog
import typer

from lake import metrics
from lake.cuts import Cut
from lake.domain import Domain
from lake.errors import BadDomain, exit_on_error
from lake.raw import Raw
from lake.registry import live_domain, live_domains
from lake.settings import Settings, load_settings
from streaming.gauges import announce_metrics, watch_router
from streaming.log_reader import Batch, LogReader
from streaming.logs import configure_logs
from streaming.produce import EventProducer, ValueTooLarge
from streaming.progress import CHECKPOINT_SECONDS, Progress
from streaming.selection import Place, Routed, Selection, place_of
from streaming.together import run_together, stop_on_signals
from streaming.topic import Topic, TopicWatch

log = structlog.get_logger()

GRACE_SECONDS = 10.0
_MAX_RECORDS = 20_000
_MAX_BYTES = 8 << 20
_POLL_SECONDS = 0.25
# An idle route says now and then that it has come on, so that the way back stays short.
_IDLE_SECONDS = 300.0


class Feed:
    """One source: its topic, read from where the routes have come, and the rules on it."""

    def __init__(self, settings: Settings, source: Domain, target: Domain, progress: Progress) -> None:
        self._watch = TopicWatch(settings, source.topic)
        self.topic = self._now = self._watch.now()
        self._selection = Selection(source, [rule for rule in target.sources if rule.domain == source.name])
        self._reader = LogReader(settings, self.topic, self._watch.begins(self.topic) | progress.of(self.topic))

    @property
    def positions(self) -> dict[int, int]:
        return self._reader.positions

    def poll(self, seconds: float) -> Batch | None:
        batch = self._reader.poll(_MAX_RECORDS, _MAX_BYTES, seconds)
        # Only now: the id proves that what was read came from this topic.
        self._now = self._watch.now(expected_id=self.topic.id)
        return batch

    def has_grown(self) -> bool:
        """Whether partitions were added since the topic was opened."""
        return self._now.partitions != self.topic.partitions

    def chosen(self, batch: Batch, target: Topic) -> Iterable[Routed]:
        return self._selection.of(batch.rows, self.topic, target)

    def close(self) -> None:
        self._reader.close()


class Router:
    """All the routes into one domain's topic."""

    def __init__(
        self,
        settings: Settings,
        target: Domain,
        domains: Mapping[str, Domain],
        stop: threading.Event,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._settings, self._target, self._stop, self._grace_seconds = settings, target, stop, grace_seconds
        names = dict.fromkeys(rule.domain for rule in target.sources)
        if not names:
            raise BadDomain(f"domain '{target.name}' has no sources, so nothing is routed to it; declare some")
        if missing := [name for name in names if name not in domains]:
            raise BadDomain(
                f"domain '{target.name}' has sources that do not run here: {', '.join(missing)}; expected among "
                f"{', '.join(domains)}: add them to TIDEMARK_DOMAINS"
            )
        self.sources = [domains[name] for name in names]
        self._feeds: dict[str, Feed] = {}
        self._watch = TopicWatch(settings, target.topic)
        self._checked = 0.0

    def read(self, source: str) -> Cut | None:
        """The next offset of each partition of a source; None before it is read."""
        feed = self._feeds.get(source)
        return dict(feed.positions) if feed else None

    def run(self) -> None:
        """Until `stop` is set. Any error ends it: who starts it again begins where the target's log says."""
        topic = self._watch.now()
        self._progress = Progress(self._settings, self._target, topic)
        self._progress.claim(self._grace_seconds, lambda: self._watch.begins(topic), self._stop)
        if self._stop.is_set():
            return
        start = self._progress.of(topic)
        seen = read_back(self._settings, self._target, topic, start, self._watch)
        log.info("routing", target=self._target.name, looked_back_from=start, found=len(seen))
        while not self._stop.is_set():
            self._route(topic, seen)
        self._progress.release()

    def _route(self, topic: Topic, seen: set[Place]) -> None:
        """From where the routes have come, until stopped or until a source has more partitions."""
        with ExitStack() as opened:
            feeds = [Feed(self._settings, source, self._target, self._progress) for source in self.sources]
            for feed in feeds:
                opened.enter_context(closing(feed))
            self._feeds = {source.name: feed for source, feed in zip(self.sources, feeds, strict=True)}
            # A record that is not accepted in time is given up, so that nothing comes after another's grace; and after
            # one that was given up nothing more is accepted, so that no order is broken.
            timeout = int(self._grace_seconds * 400)
            options = {"message_timeout_ms": timeout, "enable_gapless_guarantee": True}
            producer = EventProducer(self._settings, topic.name, None, **options)
            told, moved = time.monotonic(), False
            while not self._stop.is_set() and not any(feed.has_grown() for feed in feeds):
                for feed in feeds:
                    batch = feed.poll(_POLL_SECONDS / len(feeds))
                    self._check_claim()
                    if batch is not None:
                        self._watch.now(expected_id=topic.id)
                        self._send(producer, feed.chosen(batch, topic), seen)
                        moved = True
                since = time.monotonic() - told
                if since > _IDLE_SECONDS or (moved and since > CHECKPOINT_SECONDS):
                    self._checkpoint(producer, topic, feeds)
                    told, moved = time.monotonic(), False
            self._checkpoint(producer, topic, feeds)

    def _send(self, producer: EventProducer, events: Iterable[Routed], seen: set[Place]) -> None:
        sent = 0
        for event in events:
            self._check_claim()
            if event.place in seen:
                seen.discard(event.place)
                continue
            try:
                producer.send(event.key, event.value, "good", event.headers)
                sent += 1
            except ValueTooLarge as error:
                # No producer of the platform sends such a record; stopping here for ever would help nobody.
                log.error("not routed", place=event.place, error=str(error))
        producer.poll()
        if sent:
            metrics.ROUTED_EVENTS.labels(self._target.name).inc(sent)
            log.info("routed", target=self._target.name, events=sent)

    def _checkpoint(self, producer: EventProducer, topic: Topic, feeds: list[Feed]) -> None:
        producer.close()  # all is acknowledged now; it can be used again
        self._progress.advance({feed.topic: feed.positions for feed in feeds}, self._watch.ends(topic))

    def _check_claim(self) -> None:
        if time.monotonic() - self._checked > self._grace_seconds / 8:
            self._progress.check()
            self._checked = time.monotonic()


def read_back(settings: Settings, target: Domain, topic: Topic, start: dict[int, int], watch: TopicWatch) -> set[Place]:
    """The places of the sources whose records stand in the target at or behind `start`."""
    begins, ends = watch.begins(topic), watch.ends(topic)
    found: set[Place | None] = set()
    forgotten = {p: offset for p, offset in begins.items() if start.get(p, 0) < offset}
    if forgotten:  # Kafka no longer has all of it, raw does
        raw = Raw(settings, target)
        table = raw.await_positions(forgotten, settings.seal_timeout_seconds)
        for rows in raw.scan(start, forgotten, table):
            found.update(map(place_of, rows["headers"].to_pylist()))
    positions = {p: max(start.get(p, 0), offset) for p, offset in begins.items()}
    with closing(LogReader(settings, topic, positions)) as reader:
        while any(reader.positions[p] < offset for p, offset in ends.items()):
            if batch := reader.poll(_MAX_RECORDS, _MAX_BYTES, _POLL_SECONDS):
                found.update(map(place_of, batch.rows["headers"].to_pylist()))
    return {place for place in found if place is not None}


def main(
    domain: Annotated[list[str], typer.Option(help="A domain whose sources are routed to its topic; several may be.")],
    grace: Annotated[
        float, typer.Option(min=1, help="Seconds until what a router has sent is in the log, or lost.")
    ] = GRACE_SECONDS,
) -> None:
    """Route events to a domain's topic from those of its sources, until stopped."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        domains = live_domains(settings)
        stop = stop_on_signals()
        targets = [live_domain(settings, name) for name in dict.fromkeys(domain)]
        routers = {target.name: Router(settings, target, domains, stop, grace) for target in targets}
        if announce_metrics(settings):
            for name, router in routers.items():
                watch_router(settings, name, router)
        run_together({name: router.run for name, router in routers.items()}, stop)
        log.info("stopped", domains=list(routers))


if __name__ == "__main__":
    typer.run(main)
