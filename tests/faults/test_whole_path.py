"""Events through Kafka, lander, Spark and Beam to the merged answer, while everything is killed: always exact.

The oracle is plain Python over the producers' ledger of acknowledged records; it shares no code with the kernel.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from lake.cuts import format_time, from_ms, segment_start
from lake.kernel import Kernel, decode, encode
from lake.log import MAX_VALUE_BYTES, Log
from lake.marts import mart_uri
from lake.raw import Raw
from lake.serving import Serving
from lake.store import Piece, SpeedStore
from lake.tables import data_files, filesystem, open_table, read_file
from streaming.produce import EventProducer
from tests.faults.parts import ROOT, Watch, Worker, advance, run, wait_for
from tests.reference import Reference

SEED = int(os.environ.get("TIDEMARK_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
RATE = 1000
REVENUE, VISITORS = "revenue_by_country_hour", "visitors_by_page_minute"


@dataclass
class Run:
    """What happened: every answer, the ledger, and where to look."""

    sandbox: object
    ledger: dict[tuple[int, int], dict] = field(default_factory=dict)
    watch: Watch | None = None
    workers: list[Worker] = field(default_factory=list)
    builds: list[dict] = field(default_factory=list)
    t1: datetime | None = None

    def events_at(self, place: tuple[int, int]) -> dict | None:
        """The good event at (partition, offset); None for a bad record or a marker."""
        line = self.ledger.get(place)
        return line["event"] if line and line["kind"] == "good" else None

    def __repr__(self) -> str:
        return f"Run(seed={SEED})"


@pytest.fixture(scope="module")
def happened(make_sandbox, tmp_path_factory) -> Iterator[Run]:
    print(f"\nTIDEMARK_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    folder = tmp_path_factory.mktemp("faults")
    sandbox = make_sandbox(land_interval_seconds=0.5, seal_timeout_seconds=180)
    name, environment = sandbox.domain.name, sandbox.environment
    result = Run(sandbox)
    result.workers = [
        Worker(module, name, environment, folder / f"{module}.log") for module in ("streaming.land", "streaming.speed")
    ]
    for worker in result.workers:
        worker.start()
    result.watch = Watch(Serving(sandbox.settings, sandbox.domain), [REVENUE, VISITORS])
    shares = ["--late", "0.1", "--duplicates", "0.05", "--malformed", "0.05"]
    options = ["--like", "shop", "--seed", str(SEED), "--rate", str(RATE), "--ledger", str(folder / "ledger.jsonl")]
    producer = subprocess.Popen(
        [sys.executable, "-m", "streaming.produce", "--domain", name, *options, *shares],
        cwd=ROOT,
        env=environment,
        stderr=(folder / "produce.log").open("w"),
    )
    try:
        _send_at_the_limit(sandbox, folder / "limit.jsonl")
        _kill_while_it_goes_on(result, chance, rounds=4)
        first = _next_boundary(sandbox)
        result.builds.append(_build(sandbox, first))
        _kill_while_it_goes_on(result, chance, rounds=3)
        second = _next_boundary(sandbox)
        result.builds.append(_build(sandbox, second))
        for _ in range(2):
            result.builds.append(_build(sandbox, first, t0="1970-01-01T00:00:00Z"))
        result.t1 = second
        _kill_while_it_goes_on(result, chance, rounds=3)
        producer.terminate()
        assert producer.wait(60) == 0, (folder / "produce.log").read_text()[-2000:]
        _await_the_end(result)
    finally:
        producer.kill()
        result.watch.stop()
        for worker in result.workers:
            if worker.process and worker.process.poll() is None:
                worker.process.terminate()
                worker.process.wait(30)
    for file in ("ledger.jsonl", "limit.jsonl"):
        for line in (folder / file).read_text().splitlines():
            told = json.loads(line)
            result.ledger[(told["partition"], told["offset"])] = told
    yield result


def _send_at_the_limit(sandbox, ledger: Path) -> None:
    """Events whose values have the largest size allowed, and one byte less."""
    with ledger.open("w") as file:
        producer = EventProducer(sandbox.settings.kafka_bootstrap, sandbox.domain.topic, file)
        for number, size in enumerate([MAX_VALUE_BYTES, MAX_VALUE_BYTES - 1] * 3):
            event = {"event_id": f"large-{number}", "event_type": "order", "event_time": 1_795_000_000_000}
            event |= {"user_id": f"u{number}", "country": "XL", "amount": "1.00", "note": ""}
            bare = len(json.dumps(event).encode())
            value = json.dumps(event | {"note": "x" * (size - bare)}).encode()
            assert len(value) == size
            producer.send(b"large-%d" % number, value, "good")
        producer.close()


def _kill_while_it_goes_on(result: Run, chance: random.Random, rounds: int) -> None:
    """SIGKILL the lander and the speed job in turn while events flow; each must have done something in between."""
    for _ in range(rounds):
        for worker in result.workers:
            before = _progress(result)
            worker.revive()
            wait_for(lambda before=before: _progress(result) > before, "progress after a kill")
            time.sleep(chance.uniform(0, 1.0))  # the moment of the kill is what is random here
            worker.kill()
            worker.start()


def _progress(result: Run) -> int:
    """How many events are counted in the newest answer."""
    answers = result.watch.answers
    return sum(answers[-1].head.values()) if answers else 0


def _next_boundary(sandbox) -> datetime:
    seconds = sandbox.settings.segment_seconds
    now_ms = time.time_ns() // 1_000_000
    return from_ms(segment_start(now_ms, seconds) + seconds * 1000)


def _build(sandbox, t1: datetime, t0: str | None = None) -> dict:
    arguments = ["--domain", sandbox.domain.name]
    run(sandbox.environment, "lake.cli", "seal", *arguments, "--at", format_time(t1), "--json")
    arguments += ["--t1", format_time(t1), "--json"] + (["--t0", t0] if t0 else [])
    return run(sandbox.environment, "jobs.build_mart", *arguments)


def _await_the_end(result: Run) -> None:
    for worker in result.workers:
        worker.revive()
    end = Log(result.sandbox.settings, result.sandbox.domain).end()
    raw = Raw(result.sandbox.settings, result.sandbox.domain)
    raw.await_positions(end, 120)
    watch = result.watch
    wait_for(lambda: all(a.head == end for a in watch.answers[-2:]), f"the head to reach {end}", 120)


def states_of(table: pa.Table, keys: int = 2) -> dict[tuple, tuple]:
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {row[:keys]: row[keys:] for row in rows}


def test_every_answer_ever_given_equals_plain_python_at_its_head(happened: Run, capsys) -> None:
    watch = happened.watch
    assert watch.errors == []
    checked = 0
    for view in (REVENUE, VISITORS):
        reference, seen, last = Reference(), {}, None
        for answer in (a for a in watch.answers if a.view == view):
            for place in advance(seen, answer.head):
                if event := happened.events_at(place):
                    reference.add(event)
            if last is None or answer.head != last.head or not answer.merged.equals(last.merged):
                assert states_of(answer.merged) == reference.states(view), f"at head {answer.head}"
            checked, last = checked + 1, answer
    kills = {worker.module: worker.kills for worker in happened.workers}
    frontiers = {a.frontier for a in watch.answers}
    with capsys.disabled():
        print(f"\nseed {SEED}: {checked} answers checked of {watch.queries} queries, SIGKILLs that landed: {kills}")
    assert checked == watch.queries > 200
    assert min(kills.values()) >= 8
    assert len(frontiers) == 3, "answers from before, between and after the two slices"


def test_heads_and_frontiers_never_go_back(happened: Run) -> None:
    for view in (REVENUE, VISITORS):
        answers = [a for a in happened.watch.answers if a.view == view]
        for before, after in itertools.pairwise(answers):
            assert before.frontier <= after.frontier
            assert all(after.head.get(p, 0) >= offset for p, offset in before.head.items())


def test_raw_holds_every_acknowledged_record_once_with_its_bytes(happened: Run) -> None:
    raw = Raw(happened.sandbox.settings, happened.sandbox.domain)
    table = raw.table()
    rows = pa.concat_tables(raw.read(file) for file in raw.files(table))
    found: dict[tuple[int, int], dict] = {}
    for row in rows.select(["partition", "offset", "value", "headers"]).to_pylist():
        place = (row["partition"], row["offset"])
        assert place not in found
        found[place] = row
    positions = raw.positions(table)
    assert len(found) == sum(positions.values())
    assert all(offset < positions[p] for p, offset in found)
    assert happened.ledger.keys() <= found.keys()
    for place, row in found.items():
        line = happened.ledger.get(place)
        if line is None:
            assert [h["key"] for h in row["headers"]] == ["tidemark-marker"]
        elif line["kind"] == "good":
            assert json.loads(row["value"]) == line["event"]
        else:
            assert row["value"] == (None if line["value"] is None else base64.b64decode(line["value"]))


def test_a_slice_that_was_built_twice_again_is_the_same_table(happened: Run) -> None:
    first, _, again, once_more = happened.builds
    for build in (again, once_more):
        for before, after in zip(first["views"], build["views"], strict=True):
            assert after["action"] == "replace"
            assert {k: v for k, v in after.items() if k not in ("seconds", "action")} == {
                k: v for k, v in before.items() if k not in ("seconds", "action")
            }


def test_events_are_good_bad_or_markers_in_each_slice(happened: Run) -> None:
    for build in happened.builds[:2]:
        for view in build["views"]:
            assert view["events"] == view["good"] + view["quarantined"] + view["markers"] > 0


def test_quarantine_says_why_each_record_is_bad(happened: Run) -> None:
    reasons = {
        "bad_utf8": "bad_utf8",
        "truncated": "bad_json",
        "wrong_type": "wrong_type:event_time",
        "null_value": "null_value",
        "missing_field": "missing:user_id",
    }
    serving = happened.watch.serving
    pin = serving.pin()
    rows = serving.quarantine(pin).to_pylist()
    cut = pin.marts["_quarantine"].cut
    expected = {
        place: reasons[line["what"]]
        for place, line in happened.ledger.items()
        if line["kind"] == "bad" and place[1] < cut.get(place[0], 0)
    }
    assert {(r["partition"], r["offset"]): r["reason"] for r in rows} == expected
    assert set(expected.values()) == set(reasons.values())


def test_sql_sees_the_merged_view_and_what_it_was_merged_from(happened: Run) -> None:
    def rows(statement: str) -> list[dict]:
        return run(happened.sandbox.environment, "lake.cli", "sql", statement, "--json")

    name = happened.sandbox.domain.name
    reference = Reference(line["event"] for line in happened.ledger.values() if line["kind"] == "good")
    [total] = rows(f"SELECT sum(revenue)::VARCHAR AS revenue, sum(orders)::BIGINT AS orders FROM {REVENUE}")
    assert total["revenue"] == str(sum(s[0] for s in reference.revenue.values()))
    assert total["orders"] == sum(s[1] for s in reference.revenue.values())
    [parts] = rows(
        f"SELECT (SELECT sum(orders) FROM marts.{REVENUE})::BIGINT AS batch,"
        f" (SELECT sum(orders) FROM speed.{REVENUE})::BIGINT AS speed"
    )
    assert parts["batch"] > 0 and parts["speed"] > 0
    assert parts["batch"] + parts["speed"] == total["orders"]
    [joined] = rows(
        f"SELECT count(*) AS n, sum(m.orders - coalesce(b.orders, 0) - coalesce(s.orders, 0))::BIGINT AS rest"
        f" FROM {REVENUE} AS m LEFT JOIN marts.{REVENUE} b USING (country, hour)"
        f" LEFT JOIN speed.{REVENUE} s USING (country, hour)"
    )
    assert joined["n"] == len(reference.revenue) and joined["rest"] == 0
    [counts] = rows(f"SELECT (SELECT count(*) FROM raw.{name}) AS r, (SELECT count(*) FROM quarantine.{name}) AS q")
    assert counts["r"] >= len(happened.ledger) and counts["q"] > 0


def verify(happened: Run, expect: int) -> dict:
    arguments = ["verify", "--domain", happened.sandbox.domain.name, "--json"]
    [report] = run(happened.sandbox.environment, "lake.cli", *arguments, expect=expect)["domains"]
    assert report["ok"] == (expect == 0)
    return report


def test_verify_proves_it_from_raw(happened: Run) -> None:
    report = verify(happened, expect=0)
    assert (report["raw_gaps"], report["raw_duplicates"], report["problems"]) == (0, 0, [])
    for view in report["views"]:
        assert view["mismatches"] == 0 and view["rows_compared"] > 0 and view["from_batch"] > 0
        assert view["frontier"] == format_time(happened.t1)
    assert all(view["from_speed"] > 0 for view in report["views"] if not view["view"].startswith("_"))
    for partition in report["partitions"]:
        kinds = partition["good"] + partition["quarantined"] + partition["markers"]
        assert partition["offsets"] == partition["records"] == kinds


def test_verify_finds_a_state_that_was_changed_in_the_store(happened: Run) -> None:
    settings, domain = happened.sandbox.settings, happened.sandbox.domain
    kernel = Kernel(domain)
    store = SpeedStore(settings.store_url, kernel.generation(settings.segment_seconds), domain.name)
    snapshot = store.snapshot()
    partition, head = next((p, h) for p, h in snapshot.heads.items() if (p, h.segment) in snapshot.segments)
    segment = snapshot.segments[(partition, head.segment)]
    states = dict(segment.states)
    table = decode(states[VISITORS])
    counts = pa.array([n + 1 for n in table["page_views"].to_pylist()], pa.int64())
    states[VISITORS] = encode(table.set_column(table.column_names.index("page_views"), "page_views", counts))

    def put(changed: dict[str, bytes]) -> None:
        unchecked = SpeedStore(settings.store_url, kernel.generation(10), domain.name, compare_and_set=False)
        piece = Piece(head.segment, segment.first, segment.next, head.max_append_ms, changed)
        assert unchecked.put(partition, segment.first, [piece], head.topic_id, head.epoch)

    put(states)
    try:
        report = verify(happened, expect=1)
        [found] = [v for v in report["views"] if v["view"] == VISITORS]
        assert found["mismatches"] == len(table) and VISITORS in report["problems"][0]
    finally:
        put(dict(segment.states))
    verify(happened, expect=0)


def test_verify_finds_a_row_that_was_changed_in_a_mart(happened: Run) -> None:
    import pyarrow.parquet as pq

    settings = happened.sandbox.settings
    uri = mart_uri(settings, happened.sandbox.domain.name, REVENUE)
    file = data_files(open_table(settings, uri))[0]["path"]
    rows = read_file(settings, uri, file, None)
    orders = rows["orders"].to_pylist()
    changed = rows.set_column(
        rows.column_names.index("orders"), "orders", pa.array([n and n + 1 for n in orders], pa.int64())
    )
    path = f"{uri}/{file}".removeprefix("s3://")
    pq.write_table(changed, path, filesystem=filesystem(settings))
    try:
        report = verify(happened, expect=1)
        [found] = [v for v in report["views"] if v["view"] == REVENUE]
        assert found["mismatches"] == sum(1 for n in orders if n)
    finally:
        pq.write_table(rows, path, filesystem=filesystem(settings))
    verify(happened, expect=0)


def test_verify_finds_a_raw_file_that_was_taken_away(happened: Run) -> None:
    settings = happened.sandbox.settings
    raw = Raw(settings, happened.sandbox.domain)
    file = raw.files(raw.table())[-1]
    path = f"{raw.uri}/{file.path}".removeprefix("s3://")
    with filesystem(settings).open_input_stream(path) as stream:
        content = stream.read()
    filesystem(settings).delete_file(path)
    try:
        report = verify(happened, expect=1)
        assert report["raw_gaps"] == file.rows
        assert any(file.path in problem for problem in report["problems"])
    finally:
        with filesystem(settings).open_output_stream(path) as stream:
            stream.write(content)
    verify(happened, expect=0)


def test_verify_of_nothing_is_a_failure(sandbox) -> None:
    Raw(sandbox.settings, sandbox.domain).create(Log(sandbox.settings, sandbox.domain).topic_id())
    report = run(sandbox.environment, "lake.cli", "verify", "--domain", sandbox.domain.name, "--json", expect=1)
    assert "nothing was compared" in report["domains"][0]["problems"][0]
