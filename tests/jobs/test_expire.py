"""What is let go of is needed by nobody; what Kafka lets go of too early is told, with numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from pyarrow import fs

from jobs.expire import Expired, expire
from lake.errors import RawDamaged
from lake.kernel import Kernel
from lake.log import Log
from lake.raw import Raw
from lake.store import Piece, SpeedStore
from lake.tables import filesystem
from streaming.produce import EventProducer
from tests.conftest import Sandbox
from tests.jobs.accounts import FILE, Accounts
from tests.jobs.conftest import NINE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def box(make_sandbox) -> Sandbox:
    return make_sandbox(FILE)


def run(box: Sandbox, vacuum_hours: int) -> Expired:
    return expire(box.settings.model_copy(update={"vacuum_hours": vacuum_hours}), box.domain, print)


def files(box: Sandbox, uri: str) -> int:
    selector = fs.FileSelector(uri.removeprefix("s3://"), recursive=True)
    found = filesystem(box.settings).get_file_info(selector)
    return sum(info.path.endswith(".parquet") and "_delta_log" not in info.path for info in found)


def test_old_files_go_when_they_are_old_enough_and_raw_stays_what_it_is(box: Sandbox) -> None:
    accounts = Accounts(box.settings, box.domain)
    accounts.raw.table().alter.set_table_properties({"delta.checkpointInterval": "1000"})
    for minute in range(25):
        accounts.book(NINE + timedelta(minutes=minute), 4, ["ann", "bob"])
    old = accounts.raw.table()
    accounts.raw.table().optimize.compact()
    before = accounts.records()
    uncommitted = f"{accounts.raw.uri}/append_date=2026-11-21/part-0.parquet".removeprefix("s3://")
    pq.write_table(pa.table({"partition": [0]}), uncommitted, filesystem=filesystem(box.settings))
    assert run(box, 168).tables[0].files == 0 and files(box, accounts.raw.uri) == 27
    assert run(box, 0).tables[0].files == 26 and files(box, accounts.raw.uri) == 1
    assert accounts.records() == before
    with pytest.raises(RawDamaged, match=r"in raw no more.*run this again"):
        list(accounts.raw.scan({}, accounts.heads, old))
    table = accounts.raw.table()
    assert accounts.raw.positions(table) == accounts.heads
    assert table.metadata().configuration["delta.appendOnly"] == "true"


def test_a_long_log_becomes_a_checkpoint_which_keeps_what_raw_holds(box: Sandbox) -> None:
    accounts = Accounts(box.settings, box.domain)
    accounts.raw.table().alter.set_table_properties({"delta.checkpointInterval": "1000"})
    for minute in range(25):
        accounts.book(NINE + timedelta(minutes=minute), 2, ["ann"])
    assert [table.checkpoint for table in run(box, 168).tables] == [True]
    log = f"{accounts.raw.uri}/_delta_log/".removeprefix("s3://")
    lake = filesystem(box.settings)
    with lake.open_input_file(f"{log}_last_checkpoint") as file:
        version = json.loads(file.read())["version"]
    for old in range(version):  # as Delta does it in thirty days
        lake.delete_file(f"{log}{old:020}.json")
    assert accounts.raw.positions(accounts.raw.table()) == accounts.heads
    assert [table.checkpoint for table in run(box, 168).tables] == [False]


def test_speed_states_stay_where_no_mart_covers_them(box: Sandbox) -> None:
    Accounts(box.settings, box.domain)
    store = SpeedStore(box.settings.store_url, Kernel(box.domain).generation(10), box.domain.name)
    store.open(0, 0, "topic-1")
    assert store.put(0, 0, [Piece(0, 0, 5, 1, {}), Piece(10_000, 5, 9, 10_001, {})], "topic-1", 0)
    assert run(box, 168).segments == 0
    assert len(store.snapshot().segments) == 2


def test_what_kafka_forgets_too_early_is_told_and_the_command_fails(box: Sandbox) -> None:
    log = Log(box.settings, box.domain)
    raw = Raw(box.settings, box.domain)
    raw.create(log.topic_id())
    producer = EventProducer(box.settings, box.domain.topic)
    for number in range(40):
        producer.send(b"k%d" % number, b"{}", "good")
    producer.close()
    done = run(box, 168)
    assert done.problems == [] and {p.partition: p.begin for p in done.kafka} == {0: 0, 1: 0}
    admin = KafkaAdminClient(bootstrap_servers=box.settings.kafka_bootstrap)
    admin.delete_records({TopicPartition(box.domain.topic, 1): 3})  # as retention does
    admin.close()
    command = [sys.executable, "-m", "jobs.expire", "--domain", box.domain.name, "--json"]
    told = subprocess.run(command, cwd=ROOT, env=box.environment, capture_output=True, text=True)
    assert told.returncode == 2
    problems = json.loads(told.stdout)["problems"]
    assert all(said in told.stderr for said in problems)
    assert "partition 1: Kafka begins at offset 3, raw is at 0: 3 events between are not in Kafka" in problems[0]
    assert "the marts' frontier is at 0" in problems[1]
    assert not any("partition 0" in problem for problem in problems)


def test_what_kafka_will_forget_soon_is_told_before_it_does(box: Sandbox) -> None:
    log = Log(box.settings, box.domain)
    Raw(box.settings, box.domain).create(log.topic_id())
    producer = EventProducer(box.settings, box.domain.topic)
    producer.send(b"k", b"{}", "good")
    producer.close()
    _keep(box, 1)
    assert any("will soon have forgotten" in problem for problem in run(box, 168).problems)
    _keep(box, -1)
    assert run(box, 168).problems == []


def _keep(box: Sandbox, milliseconds: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=box.settings.kafka_bootstrap)
    topic = ConfigResource(ConfigResourceType.TOPIC, box.domain.topic, {"retention.ms": str(milliseconds)})
    admin.alter_configs([topic])
    admin.close()
