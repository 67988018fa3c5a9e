"""How far the routes into one topic have come, and whose work they are: a Delta table without rows, `routes/<domain>`.

Invariant: one commit says, as Delta transaction ids, that every record of each source before its position has been
routed, and that all that is routed from there on stands in the target at or behind the offsets it names. It is written
from the table object that the claim was read from, so of two routers at most one can say so.

A router that was killed, or cut off, cannot be told from one that is slow. So who takes over first looks whether
anything moves, then claims, and then waits until what the other has sent is in the log or lost: a router checks its
claim a moment before it sends, and its producer gives a record up after a part of `grace_seconds`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from lake.domain import Domain
from lake.errors import LogRecreated, TidemarkError
from lake.settings import Settings
from streaming.topic import Topic

CHECKPOINT_SECONDS = 1.0
_WATCH_SECONDS = 3 * CHECKPOINT_SECONDS
_TOPIC_ID = "tidemark.topicId"
_CLAIM, _RELEASED = "claim", "released"
# A Delta table has a column at least; no row was ever in it.
_SCHEMA = pa.schema([pa.field("nothing", pa.int32())])


class RouteTaken(TidemarkError):
    """Another router is at work on the same topic."""


class Progress:
    """The table of one target, at the version that was last seen to be ours."""

    def __init__(self, settings: Settings, domain: Domain, target: Topic) -> None:
        self._target = target
        self._place = f"routes/{domain.name}"
        uri, options = settings.table_uri("routes", domain.name), settings.storage_options()
        DeltaTable.create(
            uri,
            _SCHEMA,
            mode="ignore",
            configuration={_TOPIC_ID: target.id, "delta.logRetentionDuration": "interval 1 days"},
            storage_options=options,
            raise_if_key_not_exists=False,
        )
        self._table = DeltaTable(uri, storage_options=options)
        if (held := self._table.metadata().configuration[_TOPIC_ID]) != target.id:
            raise LogRecreated(
                f"topic '{target.name}' has id {target.id}, but {self._place} is about {held}: the topic was made "
                "anew, and what was routed is gone with the old one; give the domain a new topic, or a new bucket. If "
                f"raw was restored, delete {self._place}: what the sources get from now on is routed then, and what "
                "they had landed and this one had not is left out"
            )
        self._claim = self._version(_CLAIM) or 0

    def claim(self, grace_seconds: float, begins: Callable[[], Mapping[int, int]], stop: threading.Event) -> None:
        """Make the routes ours; returns early if `stop` is set. Raises RouteTaken if somebody else is at work.

        `begins`: where the target's log begins. Where nothing was ever noted, or the note is lost, all of it is looked
        at for what was routed.
        """
        unreleased = self._claim > 0 and self._version(_RELEASED) != self._claim
        if unreleased and not stop.wait(_WATCH_SECONDS):
            seen = self._table.version()
            self._table.update_incremental()
            if self._table.version() != seen:
                raise self._taken("is at work")
        first = {} if self._claim else self._offsets(self._target, begins())
        self._claim += 1
        self._commit(first)
        if unreleased:
            stop.wait(grace_seconds)

    def check(self) -> None:
        """Raise RouteTaken if somebody has claimed the routes after us."""
        self._table.update_incremental()
        if self._version(_CLAIM) != self._claim:
            raise self._taken("has taken over")

    def of(self, topic: Topic) -> dict[int, int]:
        """A source's next offset to route; in the target, where to look for what was routed from there on."""
        known = {p: self._version(f"{topic.id}-{p}") for p in topic.partitions}
        return {p: offset for p, offset in known.items() if offset is not None}

    def advance(self, sources: Mapping[Topic, Mapping[int, int]], ends: Mapping[int, int]) -> None:
        """All before `sources` stands in the target; what comes will stand at or behind `ends`."""
        moved = self._offsets(self._target, ends)
        for topic, positions in sources.items():
            moved |= self._offsets(topic, positions)
        self._commit(moved)

    def release(self) -> None:
        """Nothing of ours is under way: who comes next need not wait."""
        self._commit({_RELEASED: self._claim})

    @staticmethod
    def _offsets(topic: Topic, offsets: Mapping[int, int]) -> dict[str, int]:
        return {f"{topic.id}-{p}": offset for p, offset in offsets.items()}

    def _commit(self, versions: Mapping[str, int]) -> None:
        transactions = [Transaction(name, version) for name, version in {**versions, _CLAIM: self._claim}.items()]
        properties = CommitProperties(app_transactions=transactions, max_commit_retries=0)
        try:
            self._table.create_write_transaction([], "append", _SCHEMA, commit_properties=properties)
        except CommitFailedError as error:
            raise self._taken("has moved on") from error
        self.check()

    def _version(self, name: str) -> int | None:
        return self._table.transaction_version(name)

    def _taken(self, what: str) -> RouteTaken:
        return RouteTaken(
            f"another router of topic '{self._target.name}' {what} (see {self._place}); expected one at a time: "
            "stop one of them. Nothing is lost or doubled: the one that goes on reads back what was routed"
        )
