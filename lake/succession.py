"""Raw goes on with another topic: what is known of that topic before, and the one commit that makes it raw's own.

Invariant: until that commit raw's positions are those of the topic before; after it, those that the topics shared. The
commit is refused if anybody has landed since raw was looked at, and a lander that looked before it is refused after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from deltalake.exceptions import CommitFailedError

from lake.cuts import Cut
from lake.errors import RestoreRefused, TidemarkError
from lake.raw import DATE, STORED_SCHEMA, TOPIC_ID, Raw, positions_of

_TRIES = 10


def known_empty(raw: Raw, topic_id: str, partitions: Iterable[int]) -> Cut:
    """How far each partition of a topic that is to follow is known to hold nothing; see `note_empty`."""
    table = raw.table()
    return {p: table.transaction_version(f"{topic_id}-{p}") or 0 for p in partitions}


def note_empty(raw: Raw, topic_id: str, cut: Cut) -> None:
    """Note that all before `cut` in a topic that is to follow stands for no event.

    Raises CommitFailedError if somebody else has noted it since.
    """
    properties = positions_of(topic_id, cut, 15)
    raw.table().create_write_transaction([], "append", STORED_SCHEMA, partition_by=[DATE], commit_properties=properties)


def follow(raw: Raw, topic_id: str, positions: Cut) -> None:
    """Go on with another topic, from `positions` on, which must be what raw holds.

    Raises RestoreRefused if somebody has landed from the topic before.
    """
    failure: Exception | None = None
    for _ in range(_TRIES):
        table = raw.table()
        if raw.topic_id(table) == topic_id:
            return
        if (held := raw.positions(table)) != positions:
            raise RestoreRefused(
                f"{raw.uri} ends at {held}, expected {positions}: somebody lands from the topic "
                f"{raw.topic_id(table)} at this moment; stop that lander, then run this again"
            )
        try:
            # Without retries of its own: whatever was committed since is looked at first.
            properties = positions_of(topic_id, positions, 0)
            table.alter.set_table_properties({TOPIC_ID: topic_id}, False, commit_properties=properties)
        except (CommitFailedError, OSError) as error:
            failure = error
    if raw.topic_id(raw.table()) != topic_id:
        raise TidemarkError(f"{raw.uri}: {_TRIES} commits in a row did not succeed ({failure}); run this again")
