"""The DAGs that tidy and erase have work to do: past days in many files and tiles, covered speed states, a subject."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from lake.cuts import EPOCH, epoch_ms, format_time
from lake.kernel import Kernel
from lake.raw import Raw
from lake.store import Piece, SpeedStore
from tests.conftest import Sandbox
from tests.dags.dag_runs import run_dags
from tests.dags.past import HOUR, check_tiles, land_past, mart, one_view, send_again, views_of
from tests.faults.parts import run

DAY = timedelta(days=1)
FILES = 4
"""Of the first day, which has two slices of two files each."""


class Tidied:
    """A domain after all three DAGs have run over it, and what each came to."""

    def __init__(self, sandbox: Sandbox, environment: dict[str, str], told: str) -> None:
        self.sandbox = sandbox
        first = datetime.now(UTC).replace(hour=10, minute=0, second=0, microsecond=0) - 4 * DAY
        self.ends = [first, first + HOUR, first + 3 * DAY]
        """Of the slices; the first two are tiles of one day, which is past for longer than a day at the third's end."""
        landed = land_past(sandbox, self.ends)
        send_again(sandbox, landed)
        landed.seal(datetime.now(UTC))
        name = sandbox.domain.name
        slices = [json.dumps({"domain": name, "t1": format_time(t), "dag": False}) for t in self.ends]
        run(environment, "tests.dags.build_slices", told, *slices)
        self.raw = Raw(sandbox.settings, sandbox.domain)
        self.segments = self._speed_states(landed.heads)
        users = Counter(self._user(value) for value in self._values())
        del users[None]
        [(self.subject, self.records)] = users.most_common(1)
        erasure = {"field": "user_id", "value": self.subject, "reason": "asked to", "dry_run": False}
        erasure |= {"before": format_time(self.ends[-1])}
        runs = {
            "compacted": {"dag": "compact_lake", "domain": name},
            "expired": {"dag": "expire", "domain": name},
            "forgotten": {"dag": "forget", "domain": name} | erasure,
        }
        self.outcomes, done = run_dags(runs, environment)
        assert [outcome["state"] for outcome in self.outcomes.values()] == ["success"] * len(runs), done.stdout[-9000:]

    def result(self, outcome: str, task: str) -> dict:
        [found] = self.outcomes[outcome]["results"][task]
        return found

    def _values(self) -> list[bytes | None]:
        return [value for rows in self.raw.scan({}, self.raw.cut(self.ends[-1])) for value in rows["value"].to_pylist()]

    @staticmethod
    def _user(value: bytes | None) -> str | None:
        try:
            return str(json.loads(value or b"")["user_id"])
        except (ValueError, KeyError, TypeError):
            return None

    def _speed_states(self, heads: Mapping[int, int]) -> int:
        """Of each partition a segment for the first two tiles, one for the newest, and the head's; how many the first.

        A segment below the newest tile is let go of by `expire`, one below the frontier by an erasure.
        """
        settings, domain, topic = self.sandbox.settings, self.sandbox.domain, self.raw.topic_id(self.raw.table())
        store = SpeedStore(settings.store_url, Kernel(domain).generation(settings.segment_seconds), domain.name)
        cuts = [self.raw.cut(t) for t in self.ends[1:]]
        for partition, head in heads.items():
            store.open(partition, 0, topic)
            spans = pairwise([0, *(cut[partition] for cut in cuts), head])
            start = epoch_ms(self.ends[0])
            pieces = [Piece(start + 10_000 * n, *span, start + 10_000 * n + 1, {}) for n, span in enumerate(spans)]
            assert store.put(partition, 0, pieces, topic, 0)
        return len(heads)


@pytest.fixture(scope="module")
def tidied(make_sandbox, airflow_environment, tmp_path_factory) -> Tidied:
    folder = tmp_path_factory.mktemp("tidied")
    sandbox = make_sandbox(base=one_view(folder), partitions=2)
    return Tidied(sandbox, sandbox.environment | airflow_environment, str(folder / "told"))


def test_a_past_days_files_and_tiles_become_one_each(tidied):
    days = tidied.result("compacted", "compact_raw")["days"]
    assert [(day["files_before"], day["files_after"]) for day in days] == [(FILES, 1)]
    folded = tidied.result("compacted", "compact_marts")["folded"]
    views = views_of(tidied.sandbox)
    assert sorted((fold["view"], fold["tiles"]) for fold in folded) == sorted((view, 2) for view in views)
    for view in views:
        spans = [(tile.t0, tile.t1) for tile in mart(tidied.sandbox, view).tiles]
        assert spans == [(EPOCH, tidied.ends[1]), tuple(tidied.ends[1:])]


def test_speed_states_that_the_marts_cover_are_let_go(tidied):
    assert tidied.result("expired", "expire")["segments"] == tidied.segments > 0


def test_a_subject_is_erased_and_the_tiles_are_those_of_what_is_left(tidied):
    done = tidied.result("forgotten", "forget")
    assert done["records"] == tidied.records > 0
    assert done["proved"] and min(done["tiles"].values()) > 0
    assert tidied.outcomes["forgotten"]["labels"]["forget"] == [
        f"{tidied.sandbox.domain.name}: {tidied.records} records are erased"
    ]
    assert check_tiles(tidied.sandbox, tidied.ends[1:]) > 0
