"""Restoring: a topic that was made anew goes on at the offsets where an old raw ends.

Invariant: the topic becomes raw's own as the last step, in one commit, and only once every offset before raw's end was
read back and found to be a filler. So no reader takes a record of the new topic for one of the old, no record that
somebody appended too early is passed over, and a restore that was killed anywhere goes on where the log stands.

Fillers bring each partition to raw's end (Kafka has no other way to choose an offset), and are deleted then. While the
topic is filled its records keep the producer's timestamp, which every reader refuses: who reads one stops by name.
What is known to be fillers is noted in raw before Kafka deletes it, so that a log that begins elsewhere is no riddle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import unquote

import redis
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from kafka.errors import KafkaError, RetriableError
from pyarrow import fs

from lake.batches import BatchClient
from lake.cuts import Cut, count, covers
from lake.domain import Domain
from lake.errors import RestoreRefused
from lake.fillers import MOST, filler_batch
from lake.log import Log
from lake.pins import store_away
from lake.raw import Raw
from lake.settings import Settings
from lake.store import SpeedStore, stored_generations
from lake.stored_views import stored_versions
from lake.succession import follow, known_empty, note_empty
from lake.tables import filesystem, open_table

# After so many, over all partitions, fillers are deleted, for they take a byte each.
_A_ROUND = 2_000_000_000
_PAUSE_SECONDS = 1.0
_SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Restored:
    """What one run did: the topic goes on at `positions`, for which this run appended `filled` fillers."""

    domain: str
    topic_id: str
    positions: Cut
    filled: int = 0
    seconds: float = 0.0
    is_done: bool = True
    """False if there was nothing to do."""


def restore(settings: Settings, domain: Domain, say: Callable[[str], None] = lambda line: None) -> Restored:
    """Let the domain's topic, which is made if it is not there, go on where raw ends; run again, it goes on.

    Raises RestoreRefused where there is no raw, or records would be lost: the message says what to do.
    """
    try:
        return Restore(settings, domain, say).run()
    except KafkaError as error:
        raise RestoreRefused(f"Kafka has refused, or does not answer ({error}); run this again, it goes on") from error


class Restore:
    """One run for one domain. `check` is off only in the test that shows what it is there for."""

    def __init__(self, settings: Settings, domain: Domain, say: Callable[[str], None], *, check: bool = True) -> None:
        self._settings, self._domain, self._say, self._check = settings, domain, say, check
        self._raw, self._log = Raw(settings, domain), Log(settings, domain)
        self._filled, self._said = 0, time.monotonic()
        self._begun_ms = time.time_ns() // 1_000_000

    def run(self) -> Restored:
        """See `restore`."""
        begun = time.monotonic()
        table = open_table(self._settings, self._raw.uri)
        if table is None:
            raise RestoreRefused(
                f"{self._raw.uri} does not exist, so there is nothing to restore; expected the bucket with the old "
                "raw: copy all of it there first, or begin anew without restoring"
            )
        wanted = self._raw.positions(table)
        if self._log.exists() and self._log.topic_id() == self._raw.topic_id(table):
            self._forget_leftovers()
            return Restored(self._domain.name, self._log.topic_id(), wanted, is_done=False)
        self._check_files(table)
        self._check_marts(wanted)
        partitions = max(wanted, default=-1) + 1
        self._log.create_topic(partitions, append_time=False)
        self._log.add_partitions(partitions)
        topic_id = self._log.topic_id()
        self._empty(topic_id, wanted)
        self._empty_store()
        # An id that is unchanged proves that all of this was done to one topic.
        if self._log.topic_id() != topic_id:
            raise RestoreRefused(f"topic '{self._domain.topic}' was made anew meanwhile; run this again")
        follow(self._raw, topic_id, wanted)
        return Restored(self._domain.name, topic_id, wanted, self._filled, time.monotonic() - begun)

    def _empty(self, topic_id: str, wanted: Cut) -> None:
        """Bring each partition's beginning to `wanted`, over fillers."""
        at = self._known_beginning(topic_id, wanted)
        if not covers(self._log.end(), wanted):
            self._log.set_append_time(False)
        with closing(BatchClient(self._settings, self._domain.topic)) as client:
            while at != wanted:
                goal = {p: min(end, at[p] + _A_ROUND // len(wanted)) for p, end in wanted.items()}
                self._fill(client, at, goal)
                self._note(topic_id, goal)
                self._log.delete_before(goal)
                at = goal
            self._log.set_append_time(True)
            if self._check:
                self._check_after(client, wanted)

    def _known_beginning(self, topic_id: str, wanted: Cut) -> Cut:
        """Up to where runs before this one have come; what they have not let Kafka delete is deleted now."""
        known, begin = known_empty(self._raw, topic_id, wanted), self._log.begin()
        for p, offset in known.items():
            if begin[p] > offset:
                raise RestoreRefused(
                    f"topic '{self._domain.topic}' partition {p} begins at offset {begin[p]}, expected at most "
                    f"{offset}: records that nobody looked at are deleted. {self._advice()}"
                )
        if behind := {p: offset for p, offset in known.items() if begin[p] < offset}:
            self._log.delete_before(behind)
        return known

    def _note(self, topic_id: str, cut: Cut) -> None:
        try:
            note_empty(self._raw, topic_id, cut)
        except CommitFailedError as error:
            raise RestoreRefused(
                f"{self._raw.uri} was changed meanwhile ({error}), as by another restore at the same time; expected "
                "one at a time: run this again, it goes on"
            ) from error

    def _fill(self, client: BatchClient, start: Cut, goal: Cut) -> None:
        """Append fillers until each partition ends at `goal` at least, and prove that [start, goal) is nothing else.

        What is there already is proven before anything is added.
        """
        proven = dict(start)
        while True:
            end = self._log.end()
            for p, stop in goal.items():
                upto = min(end[p], stop)
                if self._check:
                    self._prove(client, p, proven[p], upto)
                proven[p] = upto
            if proven == goal:
                return
            for p, stop in goal.items():
                self._append(client, p, end[p], stop)

    def _append(self, client: BatchClient, partition: int, end: int, goal: int) -> None:
        """From `end` to `goal`, unless somebody else appends, too: a look at the log tells who."""
        while end < goal:
            number = min(MOST, goal - end)
            try:
                first = client.append(partition, filler_batch(number, self._begun_ms))
            except RetriableError:
                # It may have been appended, or not: the log's end says so, once nothing is under way.
                time.sleep(_PAUSE_SECONDS)
                return
            self._filled += number
            if first != end:
                return
            end = first + number
            if time.monotonic() - self._said > _SAY_SECONDS:
                self._said = time.monotonic()
                self._say(f"{self._domain.name}: {self._filled} fillers, partition {partition} up to {end} of {goal}")

    def _prove(self, client: BatchClient, partition: int, start: int, end: int) -> None:
        """Raise RestoreRefused unless each offset of [start, end) is a filler's."""
        fillers = 0
        for batch in client.read(partition, start, end):
            if batch.is_filler:
                fillers += min(batch.end, end) - max(batch.first, start)
        if fillers != end - start:
            raise RestoreRefused(
                f"topic '{self._domain.topic}' partition {partition} holds {end - start - fillers} records between "
                f"the offsets {start} and {end} that are no fillers: somebody has appended to it before it was "
                f"restored, and raw has other events there. {self._advice()}"
            )

    def _check_after(self, client: BatchClient, wanted: Cut) -> None:
        """Raise RestoreRefused if what stands behind `wanted` came before the topic was ready for it."""
        for p, end in self._log.end().items():
            start = wanted.get(p, 0)
            early = [b for b in client.read(p, start, end) if b.is_filler or not b.is_append_time]
            if early:
                raise RestoreRefused(
                    f"topic '{self._domain.topic}' partition {p} holds {sum(b.end - b.first for b in early)} records "
                    f"behind offset {start} that came while it was filled: somebody has appended to it, or restored "
                    f"it at the same time. {self._advice()}"
                )

    def _advice(self) -> str:
        return (
            "Stop whoever appends, delete the topic (`python -m kafka.admin -b "
            f"{self._settings.kafka_bootstrap} topics delete -t {self._domain.topic}`, with an "
            f"administrator's options where Kafka has users), run `tidemark restore {self._domain.name}` again, and "
            "let those records be sent again after it"
        )

    def _check_files(self, table: DeltaTable) -> None:
        folder = self._raw.uri.removeprefix("s3://")
        there = {
            info.path.removeprefix(f"{folder}/")
            for info in filesystem(self._settings).get_file_info(fs.FileSelector(folder, recursive=True))
        }
        missing = [file.path for file in self._raw.files(table) if unquote(file.path) not in there]
        if missing:
            raise RestoreRefused(
                f"{self._raw.uri} lacks {len(missing)} of its files, as {missing[0]}: the bucket is not copied yet, "
                "or not wholly. Copy all of it first, then run this again"
            )

    def _check_marts(self, wanted: Cut) -> None:
        for version in stored_versions(self._settings, self._domain.name):
            for view in version.views:
                if not covers(wanted, view.cut):
                    raise RestoreRefused(
                        f"{view.uri} was built up to the offsets {view.cut}, but raw ends at {wanted}: what came "
                        "between is in no raw, and new events would get its offsets. Copy raw/ again, after all "
                        "else; or, if there is no more of it, delete that mart: it is built anew from raw"
                    )

    def _empty_store(self) -> None:
        """Forget the old topic's speed states: the speed layer begins at the frontier."""
        url = self._settings.store_url
        try:
            for generation in stored_generations(url, self._domain.name):
                SpeedStore(url, generation, self._domain.name).forget()
        except redis.RedisError as error:
            raise RestoreRefused(f"{store_away(error)} Nothing is lost; run this again") from error

    def _forget_leftovers(self) -> None:
        """Delete fillers that a broker gives out again: it notes where a log begins only once a minute."""
        begin, end = self._log.begin(), self._log.end()
        with closing(BatchClient(self._settings, self._domain.topic)) as client:
            found: Cut = {}
            for p, start in begin.items():
                at = start
                for batch in client.read(p, start, end[p]):
                    if not batch.is_filler:
                        break
                    at = batch.end
                if at > start:
                    found[p] = at
        if found:
            self._log.delete_before(found)
            self._say(f"{self._domain.name}: {count(begin, found)} fillers were there again, and are deleted")
