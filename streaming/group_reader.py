"""A group of a domain's partitions, read from where the store stands and split at segment boundaries; what Kafka has
forgotten by then, or forgets meanwhile, is read from raw.

Invariant: the store's offsets are the truth when a group is opened; nothing else, no runner's checkpoint, decides
where reading goes on. Afterwards the reader runs ahead of the store only by chunks that are being put.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog
from confluent_kafka import KafkaException

from lake.cuts import Cut
from lake.domain import Domain
from lake.errors import LogRecreated, RetentionPassed
from lake.raw import Raw
from lake.settings import Settings
from lake.store import Resume, SpeedStore
from lake.timeline import Versions
from streaming.gap_reader import GapReader
from streaming.log_reader import Batch, LogReader
from streaming.pieces import Chunk, split
from streaming.states import until_store_answers, until_store_has_room
from streaming.topic import Topic, TopicWatch

log = structlog.get_logger()

Frontier = tuple[Cut, Mapping[int, Versions]]
"""Where the speed layer begins: a cut, and of each partition the versions announced before it."""

# What a chunk costs besides its records is a few dozen milliseconds, which a backlog shall not notice.
_MAX_RECORDS = 50_000
_MAX_BYTES = 16 << 20
# So long may the broker wait for more than one record: without, answering costs it more than all else that it does.
_GATHER_SECONDS = 0.01
_WATCH_SECONDS = 1.0
_REPORT_SECONDS, _BEHIND = 10.0, 100_000


class GroupReader:
    """Partitions p with p % groups == group, those added while it runs included. Opens itself at the first poll.

    `frontier` gives where to start a partition that the store does not know, and the dimensions' versions that were
    announced in each partition before. `split` is replaced only by the test that
    shows what splitting at segment boundaries is for.
    """

    def __init__(
        self,
        settings: Settings,
        domain: Domain,
        store: SpeedStore,
        frontier: Callable[[], Frontier],
        group: int = 0,
        groups: int = 1,
        split: Callable[[Batch, dict[int, Resume], int, str, int], Chunk] = split,
    ) -> None:
        self._settings, self._store, self._frontier = settings, store, frontier
        self._group, self._groups = group, groups
        self._split = split
        self._raw = Raw(settings, domain)
        self._watch = TopicWatch(settings, domain.topic)
        self._reader: LogReader | GapReader | None = None
        self._resumes: dict[int, Resume] = {}
        self._watched, self._reported = 0.0, 0.0

    @property
    def positions(self) -> Cut:
        """The offset of the next record of each partition, none before it is opened."""
        return {p: resume.next_offset for p, resume in self._resumes.items()}

    def poll(self, seconds: float) -> Chunk | None:
        """What arrives within `seconds`, None if nothing. Raises LogStopped; waits while the store is away or full."""
        try:
            try:
                reader, batch = self._read(seconds)
            except RetentionPassed:  # Kafka forgets faster than this reads: raw has the records, or opening raises
                self.close()
                reader, batch = self._read(seconds)
        except KafkaException as error:
            log.warning("reading failed, opening anew", group=self._group, error=str(error))
            self.close()
            time.sleep(seconds)
            return None
        if batch is None:
            if isinstance(reader, GapReader):
                self.close()
            return None
        if isinstance(reader, LogReader):
            self._report(reader)
        segment_ms = self._settings.segment_seconds * 1000
        return self._split(batch, self._resumes, segment_ms, reader.topic.id, self._group)

    def close(self) -> None:
        """Forget everything; the next poll opens at where the store stands."""
        if self._reader:
            self._reader.close()
        self._reader, self._resumes = None, {}

    def _read(self, seconds: float) -> tuple[LogReader | GapReader, Batch | None]:
        """What the reader has next, opened first where it is not, or no longer, of the topic's partitions."""
        if self._reader is None or self._partitions_changed(self._reader.topic):
            self.close()
            self._reader = self._open()
        return self._reader, self._reader.poll(_MAX_RECORDS, _MAX_BYTES, seconds)

    def _report(self, reader: LogReader) -> None:
        """Say now and then how far there is to go, where it is far."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            if (behind := reader.behind) > _BEHIND:
                log.info("catching up", group=self._group, events_behind=behind)

    def _open(self) -> LogReader | GapReader:
        topic = self._watch.now()
        own = [p for p in topic.partitions if p % self._groups == self._group]
        self._resumes = {p: self._resume(p, topic.id) for p in own}
        log.info("reading", group=self._group, positions=self.positions)
        begins = self._watch.begins(topic)
        if forgotten := {p: begins[p] for p in own if self.positions[p] < begins[p]}:
            positions = {p: self.positions[p] for p in forgotten}
            log.error("Kafka has forgotten what was not read yet; reading raw", positions=positions, begins=forgotten)
            return GapReader(self._raw, topic, positions, forgotten)
        epochs = {p: resume.epoch for p, resume in self._resumes.items()}
        return LogReader(self._settings, topic, self.positions, epochs, _GATHER_SECONDS)

    @until_store_has_room
    @until_store_answers
    def _resume(self, partition: int, topic_id: str) -> Resume:
        resume = self._store.resume(partition)
        if resume is None:
            cut, announced = self._frontier()
            resume = self._store.open(partition, cut.get(partition, 0), topic_id, announced.get(partition))
        if resume.topic_id != topic_id:
            raise LogRecreated(
                f"the speed store holds partition {partition} of a topic with id {resume.topic_id}, and the topic now "
                f"has id {topic_id}: it was made anew; give the domain a new topic, or a new store and bucket"
            )
        return resume

    def _partitions_changed(self, topic: Topic) -> bool:
        """Asked once a second. Raises LogRecreated if it is no longer this topic."""
        if time.monotonic() - self._watched < _WATCH_SECONDS:
            return False
        self._watched = time.monotonic()
        return self._watch.now(expected_id=topic.id).partitions != topic.partitions
