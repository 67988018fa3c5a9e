"""`tidemark verify` proves an answer right, and finds whatever was tampered with."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import redis

from lake.cuts import format_time
from lake.kernel import Kernel, decode, encode
from lake.log import Log
from lake.marts import mart_uri
from lake.raw import Raw
from lake.store import Piece, SpeedStore
from lake.tables import data_files, filesystem, open_table, read_file
from tests.faults.parts import VIEWS, Run, run

REVENUE, VISITORS = VIEWS


def verify(happened: Run, expect: int) -> dict:
    arguments = ["verify", "--domain", happened.sandbox.domain.name, "--json"]
    [report] = run(happened.sandbox.environment, "lake.cli", *arguments, expect=expect)["domains"]
    assert report["ok"] == (expect == 0)
    return report


def revenue_uri(happened: Run) -> str:
    settings, domain = happened.sandbox.settings, happened.sandbox.domain
    return mart_uri(settings, domain.name, REVENUE, Kernel(domain).definition_hash(REVENUE))


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


def test_verify_finds_a_segment_that_is_gone_from_the_store_or_is_no_states(happened: Run) -> None:
    settings, domain = happened.sandbox.settings, happened.sandbox.domain
    client = redis.Redis.from_url(settings.store_url.get_secret_value())
    [key, *_] = sorted(client.scan_iter(f"tidemark:*{domain.name}*:segment:*"), reverse=True)
    stored = client.hgetall(key)
    try:
        client.hset(key, f"state:{VISITORS}", b"torn")
        assert "cannot be read" in verify(happened, expect=1)["problems"][0]
        client.delete(key)
        assert verify(happened, expect=1)["problems"]
    finally:
        client.delete(key)
        client.hset(key, mapping=stored)
    verify(happened, expect=0)


def test_verify_finds_a_row_that_was_changed_in_a_mart(happened: Run) -> None:
    settings, uri = happened.sandbox.settings, revenue_uri(happened)
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


def test_verify_finds_a_row_that_was_taken_out_of_a_mart(happened: Run) -> None:
    settings, uri = happened.sandbox.settings, revenue_uri(happened)
    file = data_files(open_table(settings, uri))[0]["path"]
    rows = read_file(settings, uri, file, None)
    path = f"{uri}/{file}".removeprefix("s3://")
    keep = pa.compute.or_(rows["manifest"].is_valid(), pa.array(i % 2 == 0 for i in range(len(rows))))
    pq.write_table(rows.filter(keep), path, filesystem=filesystem(settings))
    try:
        assert "its manifest says" in verify(happened, expect=1)["problems"][0]
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
