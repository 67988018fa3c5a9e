"""Copy, filter, split, shard and merge are declarations, and what they promise is in raw of the target."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property

import pytest

from lake.errors import TidemarkError
from lake.kernel import COUNTS, Kernel
from lake.log import Log
from lake.raw import Raw
from streaming.selection import SOURCE_HEADER
from tests.streaming.conftest import ROOT, wait_for
from tests.streaming.routes import Sent, declare, places, raw_rows, read_all, send_records

COUNT = 3_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TARGETS = {
    "copied": [{"domain": "first"}],
    "filtered": [{"domain": "first", "where": "country = 'DE' AND amount % 3 = 0"}],
    "german": [{"domain": "first", "where": "country = 'DE'"}],
    "others": [{"domain": "first", "where": "country IS DISTINCT FROM 'DE'"}],
    "sharded": [{"domain": "first", "key": "upper(user)"}],
    "merged": [{"domain": "first", "where": "country = 'DE'"}, {"domain": "second"}],
    "ruled": [
        {"domain": "first", "where": "country = 'DE'", "key": "country"},
        {"domain": "first", "where": "amount % 3 = 0"},
    ],
    "second": [],
    "first": [],
}


class Flow:
    """Two sources, sent to before anything is routed, and every target."""

    def __init__(self, sandbox) -> None:
        self.settings = sandbox.settings
        self.topics = {name: declare(self.settings, name, sources) for name, sources in TARGETS.items()}
        self.targets = [name for name, sources in TARGETS.items() if sources]
        self.sent = {name: send_records(self.topics[name], COUNT) for name in ("first", "second")}
        Log(self.settings, self.topics["first"].domain).mark(NOON, 3)

    def expected(self, name: str) -> list[Sent]:
        """By plain Python over what was sent."""
        first = self.sent["first"]
        german = [sent for sent in first if sent.country == "DE"]
        third = [sent for sent in first if sent.is_event and json.loads(sent.value)["amount"] % 3 == 0]
        return {
            "copied": first,
            "filtered": [sent for sent in third if sent.country == "DE"],
            "german": german,
            "others": [sent for sent in first if sent.is_event and sent.country != "DE"],
            "sharded": first,
            "merged": german + self.sent["second"],
            "ruled": german + [sent for sent in third if sent.country != "DE"],
        }[name]

    def held(self, name: str) -> int:
        raw = Raw(self.settings, self.topics[name].domain)
        try:
            return sum(raw.positions(raw.table()).values())
        except TidemarkError:
            return 0

    def rows(self, name: str) -> list[dict]:
        return raw_rows(self.topics[name])

    @cached_property
    def from_first(self) -> dict[tuple, dict]:
        """The source's log by place."""
        rows = read_all(self.settings, self.topics["first"].domain).to_pylist()
        id_ = Log(self.settings, self.topics["first"].domain).topic_id()
        return {(id_, row["partition"], row["offset"]): row for row in rows}


@pytest.fixture(scope="module")
def flow(make_sandbox, tmp_path_factory) -> Iterator[Flow]:
    """One process routes to every target, another lands them; all of it has arrived."""
    sandbox = make_sandbox()
    flow = Flow(sandbox)
    log = tmp_path_factory.mktemp("routes") / "log"
    options = [option for name in flow.targets for option in ("--domain", name)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *options], cwd=ROOT, env=sandbox.environment, stderr=log.open("a")
        )
        for module in ("streaming.route", "streaming.land")
    ]
    try:
        wait_for(lambda: all(flow.held(name) >= len(flow.expected(name)) for name in flow.targets), 60)
        for process in processes:
            process.terminate()
        assert [process.wait(30) for process in processes] == [0, 0], log.read_text()[-3000:]
        yield flow
    finally:
        for process in processes:
            process.kill()


def contents(records: list[Sent]) -> Counter:
    return Counter((sent.value, sent.headers) for sent in records)


@pytest.mark.parametrize("name", [name for name, sources in TARGETS.items() if sources])
def test_raw_of_the_target_holds_what_the_sources_rules_take_each_once_and_nothing_else(flow, name):
    rows = flow.rows(name)
    found = Counter(
        (row["value"], tuple((h["key"], h["value"]) for h in row["headers"] if h["key"] != SOURCE_HEADER))
        for row in rows
    )
    assert found == contents(flow.expected(name))
    assert max(Counter(places(rows)).values()) == 1
    assert None not in places(rows)


@pytest.mark.parametrize("name", ["copied", "german"])
def test_bytes_key_and_headers_of_a_routed_record_are_the_sources_and_it_says_where_it_was(flow, name):
    for row, place in zip(flow.rows(name), places(flow.rows(name)), strict=True):
        source = flow.from_first[place]
        assert (row["key"], row["value"]) == (source["key"], source["value"])
        assert row["headers"][:-1] == (source["headers"] or [])
        assert row["headers"][-1]["key"] == SOURCE_HEADER


def test_a_copy_takes_unreadable_records_too_and_the_sources_marker_stays_where_it_is(flow):
    counts = {name: Kernel(flow.topics[name].domain) for name in ("first", "copied")}
    totals = {}
    for name, kernel in counts.items():
        states = kernel.run(read_all(flow.settings, flow.topics[name].domain), names=[COUNTS])[COUNTS]
        totals[name] = {column: sum(states[column].to_pylist()) for column in ("good", "quarantined", "markers")}
    assert totals["first"] == {"good": 2_700, "quarantined": 300, "markers": 3}
    assert totals["copied"] == {"good": 2_700, "quarantined": 300, "markers": 0}


def test_a_split_by_complements_is_without_overlap_and_complete(flow):
    left, right = set(places(flow.rows("german"))), set(places(flow.rows("others")))
    assert not left & right
    assert len(left | right) == 2_700


def test_a_shard_brings_each_new_key_into_one_partition_and_over_all_of_them(flow):
    partition_of: dict[bytes, int] = {}
    for row in flow.rows("sharded"):
        key = row["key"]
        if row["value"] and b'"user"' in row["value"]:
            assert key == json.loads(row["value"])["user"].upper().encode()
        else:
            assert key.startswith(b"camera-")  # without a user it keeps its own
        assert partition_of.setdefault(key, row["partition"]) == row["partition"]
    assert set(partition_of.values()) == {0, 1, 2}
    assert len(partition_of) > 83


@pytest.mark.parametrize("name", ["copied", "german", "merged"])
def test_events_of_one_key_stay_in_the_sources_order(flow, name):
    last: dict[tuple, int] = {}
    rows = sorted(flow.rows(name), key=lambda row: (row["partition"], row["offset"]))
    for row, (topic, partition, offset) in zip(rows, places(rows), strict=True):
        stream = (row["partition"], topic, partition)
        assert last.get(stream, -1) < offset
        last[stream] = offset


def test_the_first_rule_that_holds_decides_the_key(flow):
    keys: dict[bool, set[bytes]] = {True: set(), False: set()}
    for row in flow.rows("ruled"):
        keys[json.loads(row["value"]).get("country") == "DE"].add(row["key"].partition(b"-")[0])
    assert keys == {True: {b"DE"}, False: {b"camera"}}
