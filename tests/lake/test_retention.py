"""What Kafka has let go of too early, or soon will have, is told with numbers; and when it has let go of records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from lake.cuts import Cut
from lake.log import Log
from lake.raw_schema import RAW_SCHEMA
from lake.retention import check_retention, gone_by

WEEK_MS = 7 * 24 * 3600 * 1000
NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)


class KnownLog:
    """What lake.log.Log says of a topic: partition 0 from offset 0 and partition 1 from 3 on, 20 records each."""

    def __init__(self, soon: Cut | None = None, **settings: int) -> None:
        self._soon = soon or {0: 0, 1: 3}
        self._settings = {"retention.ms": WEEK_MS, "retention.bytes": -1, "segment.ms": WEEK_MS}
        self._settings |= {name.replace("_", "."): value for name, value in settings.items()}
        self.asked: list[datetime] = []

    def configuration(self, *names: str) -> dict[str, str]:
        return {name: str(self._settings[name]) for name in names}

    def begin(self) -> Cut:
        return {0: 0, 1: 3}

    def end(self) -> Cut:
        return {0: 20, 1: 20}

    def first_since(self, t: datetime) -> Cut:
        self.asked.append(t)
        return self._soon


@pytest.mark.parametrize(
    ("held", "covered", "said"),
    [
        ({0: 20, 1: 20}, {0: 5, 1: 3}, []),
        ({1: 3}, {1: 3}, []),
        ({1: 2}, {1: 3}, ["Kafka begins at offset 3, raw is at 2: 1 events between are not in Kafka any more"]),
        (
            {},
            {},
            ["raw is at 0: 3 events between are not in Kafka", "the marts' frontier is at 0: 3 events between are not"],
        ),
    ],
)
def test_what_kafka_has_forgotten_before_raw_or_the_marts_had_it_is_told(held: Cut, covered: Cut, said: list[str]):
    partitions, problems = check_retention(KnownLog(), held, covered)
    assert len(problems) == len(said)
    assert all(part in problem and "partition 1" in problem for part, problem in zip(said, problems, strict=True))
    assert [(p.partition, p.begin, p.raw, p.frontier) for p in partitions] == [
        (p, begin, held.get(p, 0), covered.get(p, 0)) for p, begin in ((0, 0), (1, 3))
    ]


def test_what_it_will_have_forgotten_soon_is_told_while_there_is_time() -> None:
    log = KnownLog(soon={0: 7, 1: 3})
    _, problems = check_retention(log, {0: 7, 1: 9}, {0: 6, 1: 9})
    assert len(problems) == 1
    assert "keeps 7 days, 0:00:00, will soon have forgotten what is before offset 7" in problems[0]
    assert "the marts' frontier is at 6" in problems[0]
    [asked] = log.asked
    assert timedelta(days=5.5) < datetime.now(UTC) - asked < timedelta(days=5.7)
    _, problems = check_retention(KnownLog(soon={0: 7, 1: 3}, retention_ms=-1), {0: 6, 1: 9}, {0: 6, 1: 9})
    assert problems == [], "what is kept for ever is not forgotten soon"
    _, problems = check_retention(KnownLog(retention_bytes=1000), {1: 2}, {1: 3})
    assert "retention.bytes is 1000" in problems[-1]


def test_records_are_gone_once_their_file_was_closed_and_its_time_has_passed() -> None:
    records = [{"partition": p, "offset": 2, "append_time": NINE} for p in (0, 1)]
    names = ["partition", "offset", "append_time"]
    places = pa.Table.from_pylist(records, pa.schema([RAW_SCHEMA.field(name) for name in names]))
    assert gone_by(KnownLog(), places) == "2026-12-05T09:00:00Z"
    assert gone_by(KnownLog(retention_ms=-1), places) == "never"
    assert gone_by(KnownLog(), places[1:]) is None, "partition 1 begins at offset 3"
    assert gone_by(KnownLog(), places[:0]) is None


def test_a_topic_keeps_what_it_has_as_long_as_the_settings_say(make_sandbox):
    sandbox = make_sandbox(kafka_retention_hours=5)
    assert int(Log(sandbox.settings, sandbox.domain).configuration("retention.ms")["retention.ms"]) == 5 * 3_600_000
