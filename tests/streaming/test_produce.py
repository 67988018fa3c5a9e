"""The producer: seeded, honest about what was acknowledged, and with a limit."""

from __future__ import annotations

import base64
import json
from collections import Counter
from itertools import islice

import pyarrow as pa
import pytest

from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.log import MAX_VALUE_BYTES, Log
from streaming.events.stream import BAD, Shares
from streaming.produce import GENERATORS, EventProducer, ValueTooLarge

SHARES = Shares(late=0.1, duplicates=0.1, malformed=0.1)
NOW_MS = 1_795_000_000_000

each_domain = pytest.mark.parametrize("domain", GENERATORS)


def events(domain: str, seed: int, count: int, shares: Shares = SHARES) -> list:
    return list(islice(GENERATORS[domain](seed, shares, lambda: NOW_MS, 60_000), count))


@each_domain
def test_the_same_seed_gives_the_same_events_and_another_seed_others(domain):
    assert events(domain, 7, 2_000) == events(domain, 7, 2_000)
    assert events(domain, 7, 2_000) != events(domain, 8, 2_000)


@each_domain
def test_a_duplicate_is_an_earlier_good_event_byte_for_byte(domain):
    seen = set()
    kinds = Counter()
    for key, value, kind in events(domain, 7, 5_000):
        kinds[kind] += 1
        if kind == "duplicate":
            assert (key, value) in seen
        if kind == "good":
            assert (key, value) not in seen
            seen.add((key, value))
    assert set(kinds) == {"good", "duplicate", *BAD}
    assert 350 < kinds["duplicate"] < 650 and 350 < sum(kinds[bad] for bad in BAD) < 650


@each_domain
def test_a_conflict_has_the_id_of_an_earlier_event_and_another_payload(domain):
    seen = {}
    shares = Shares(late=0, duplicates=0.02, malformed=0.02, conflicts=0.1)
    conflicts = 0
    for key, value, kind in events(domain, 7, 3_000, shares):
        if kind == "good":
            seen[json.loads(value)["event_id"]] = (key, value)
        if kind == "conflict":
            conflicts += 1
            before_key, before = seen[json.loads(value)["event_id"]]
            assert key == before_key and value != before
    assert 200 < conflicts < 400


@each_domain
def test_events_come_late_by_minutes_to_hours(domain):
    behind = [
        NOW_MS - json.loads(value)["event_time"]
        for _, value, kind in events(domain, 7, 5_000, Shares(late=0.2, duplicates=0, malformed=0))
        if kind == "good"
    ]
    late = [ms for ms in behind if ms > 60_000]
    assert 800 < len(late) < 1200
    assert max(late) > 3_600_000 and max(late) <= 60_000 + 60_000 + 6 * 3_600_000


@each_domain
def test_the_ledger_is_the_log(make_sandbox, read_log, workers, tmp_path, domain):
    sandbox = make_sandbox(domain)
    ledger = tmp_path / "ledger.jsonl"
    options = ["--like", domain, "--count", "5000", "--ledger", str(ledger), "--malformed", "0.1"]
    assert workers.start("streaming.produce", sandbox, *options).wait(60) == 0
    lines = {(entry["partition"], entry["offset"]): entry for entry in map(json.loads, ledger.open())}
    rows = read_log(sandbox)
    assert len(lines) == len(rows) == 5000
    for row in rows.to_pylist():
        entry = lines[row["partition"], row["offset"]]
        assert entry["append_ms"] == row["append_time"].timestamp() * 1000
        if entry["kind"] == "good":
            assert json.loads(row["value"]) == entry["event"]
        else:
            assert row["value"] == (None if entry["value"] is None else base64.b64decode(entry["value"]))
    results = Kernel(sandbox.domain).run(rows)
    bad = {place for place, entry in lines.items() if entry["kind"] == "bad"}
    quarantined = results[QUARANTINE]
    places = zip(quarantined["partition"].to_pylist(), quarantined["offset"].to_pylist(), strict=True)
    assert set(places) == bad
    assert pa.compute.sum(results[COUNTS]["good"]).as_py() == 5000 - len(bad)


def test_a_key_is_always_in_one_partition(sandbox, send, read_log):
    send(sandbox, 3_000)
    rows = read_log(sandbox)
    found = {}
    for key, partition in zip(rows["key"].to_pylist(), rows["partition"].to_pylist(), strict=True):
        assert found.setdefault(key, partition) == partition
    assert len(set(found.values())) == 4


def test_on_sigterm_what_was_sent_is_acknowledged_and_in_the_ledger(sandbox, workers, until, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    options = ["--like", "shop", "--rate", "2000", "--ledger", str(ledger)]
    producer = workers.start("streaming.produce", sandbox, *options)
    log = Log(sandbox.settings, sandbox.domain)
    until(lambda: sum(log.end().values()) > 1000)
    producer.terminate()
    assert producer.wait(30) == 0
    assert len(ledger.read_text().splitlines()) == sum(log.end().values())


def test_a_value_at_the_limit_is_sent_and_one_byte_more_is_refused_before_sending(sandbox, read_log):
    producer = EventProducer(sandbox.settings, sandbox.domain.topic)
    for size in (MAX_VALUE_BYTES - 1, MAX_VALUE_BYTES):
        producer.send(b"user", b"x" * size, "good")
    with pytest.raises(ValueTooLarge, match=rf"{MAX_VALUE_BYTES + 1} bytes, at most {MAX_VALUE_BYTES}"):
        producer.send(b"user", b"x" * (MAX_VALUE_BYTES + 1), "good")
    producer.close()
    sizes = pa.compute.binary_length(read_log(sandbox)["value"]).to_pylist()
    assert sizes == [MAX_VALUE_BYTES - 1, MAX_VALUE_BYTES]
