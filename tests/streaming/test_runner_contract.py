"""What holds on every runner of the speed layer, over a real topic and the real store, whatever is killed."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import AdminClient

from lake.kernel import COUNTS, Kernel
from lake.log import Log
from streaming.events.shop import shop_events
from streaming.produce import EventProducer
from tests.conftest import Sandbox
from tests.streaming.conftest import SHARES, Workers
from tests.streaming.kept import assert_answers, assert_equal, catch_up, heads, put_count, reader, states
from tests.streaming.processes import family, frozen, has_ended
from tests.streaming.told import SERVED, Told

VICTIMS = {"prism": ("job", "runner"), "flink": ("job", "runner", "worker")}
"""What can be killed of each runner's processes; Prism's worker is the job."""
GROUPS = ("--groups", "3")
SPREAD = {"prism": GROUPS, "flink": (*GROUPS, "--workers", "2")}
"""Three groups, where a runner has more than one worker over two of them."""


@pytest.fixture(params=VICTIMS)
def runner(request, runners) -> str:
    return request.param


@pytest.fixture
def start(workers, runner) -> Callable[..., psutil.Process]:
    """start(sandbox): a speed job of several groups on the runner."""

    def start(sandbox: Sandbox):
        return workers.start("streaming.speed", sandbox, "--runner", runner, *GROUPS)

    return start


def is_worker(process: psutil.Process) -> bool:
    return any("tidemark-worker" in argument for argument in process.cmdline())


def end_of(sandbox: Sandbox) -> dict[int, int]:
    return Log(sandbox.settings, sandbox.domain).end()


def test_killed_mid_backlog_in_any_part_and_restarted_the_speed_job_is_exact_and_leaves_no_process(
    runner, start, make_sandbox, send, until, speed_store, expected
):
    sandbox = make_sandbox(segment_seconds=1)
    store = speed_store(sandbox)
    victims, seed = list(VICTIMS[runner]), 1
    while victims:
        before = put_count(store)
        if before == sum(end_of(sandbox).values()):
            send(sandbox, 60_000, seed := seed + 1)
        process = start(sandbox)
        until(lambda before=before: put_count(store) > before)
        children = family(process.pid)
        victim = victims.pop(0)
        if victim == "job":
            process.kill()
        else:
            [one, *_] = [p for p in children if (is_worker(p) if victim == "worker" else p.ppid() == process.pid)]
            one.kill()
        assert process.wait(60) == (-signal.SIGKILL if victim == "job" else 1)
        until(lambda children=children: all(map(has_ended, children)), 10)
        if put_count(store) == sum(end_of(sandbox).values()):
            victims.insert(0, victim)  # too fast to be killed in the backlog: more to do
    process = start(sandbox)
    send(sandbox, 2_000, seed=99)
    end = end_of(sandbox)
    until(lambda: heads(store) == end)
    assert_equal(store, expected(sandbox))
    children = family(process.pid)
    assert len(children) >= len(VICTIMS[runner]) - 1
    process.terminate()
    assert process.wait(30) == 0
    until(lambda: all(map(has_ended, children)), 10)


def test_a_topic_made_anew_stops_the_speed_job_by_name(sandbox, send, workers, start, until, speed_store):
    send(sandbox, 500)
    process, store = start(sandbox), speed_store(sandbox)
    until(lambda: put_count(store) == 500)
    children = family(process.pid)
    admin, name = AdminClient({"bootstrap.servers": sandbox.settings.kafka_bootstrap}), sandbox.domain.topic
    admin.delete_topics([name])[name].result()
    assert process.wait(60) == 1
    assert "LogRecreated" in workers.logs()
    until(lambda: all(map(has_ended, children)), 10)


@dataclass(frozen=True)
class Job:
    """A speed job that the tests below share, and all that it writes: its log, and files in a folder of its own."""

    runner: str
    sandbox: Sandbox
    pid: int
    folder: Path
    logs: Callable[[], str]


@pytest.fixture(scope="module", params=VICTIMS)
def job(request, runners, make_sandbox, tmp_path_factory) -> Iterator[Job]:
    folder, sandbox = tmp_path_factory.mktemp(request.param), make_sandbox(segment_seconds=1)
    workers = Workers(tmp_path_factory.mktemp("logs"))
    options = ("--runner", request.param, *SPREAD[request.param])
    process = workers.start("streaming.speed", sandbox, *options, **SERVED, TMPDIR=str(folder))
    yield Job(request.param, sandbox, process.pid, folder, workers.logs)
    workers.stop()


def test_the_merged_answer_is_plain_pythons_and_bad_records_are_counted_as_such(
    job, until, speed_store, read_log, expected, tmp_path
):
    sandbox, name, told = job.sandbox, job.sandbox.domain.name, Told(job.logs, until)
    ledger = tmp_path / "ledger.jsonl"
    with ledger.open("w") as file:
        producer = EventProducer(sandbox.settings, sandbox.domain.topic, file)
        for record in islice(shop_events(1, SHARES, lambda: 1_795_000_000_000, history_ms=600_000), 5_000):
            producer.send(*record)
        producer.close()
    acknowledged = [json.loads(line) for line in ledger.read_text().splitlines()]
    store, end = speed_store(sandbox), end_of(sandbox)
    until(lambda: heads(store) == end)
    assert_equal(store, expected(sandbox))
    assert_answers(sandbox, acknowledged)
    until(lambda: told("tidemark_chunk_events_sum", domain=name) == 5_000)
    rows = read_log(sandbox)
    bad = pc.sum(Kernel(sandbox.domain).run(rows, names=[COUNTS])[COUNTS]["quarantined"]).as_py()
    assert told("tidemark_put_events_total", domain=name) == 5_000
    assert told("tidemark_put_bad_events_total", domain=name) == bad > 0
    assert told("tidemark_refused_puts_total", domain=name) == 0
    chunks = told("tidemark_chunk_events_count", domain=name)
    assert told("tidemark_chunk_seconds_count", domain=name) == chunks
    assert told("tidemark_store_put_seconds_count", domain=name) == chunks
    labels = {"domain": name, "generation": Kernel(sandbox.domain).generation(sandbox.settings.segment_seconds)}
    assert told("tidemark_speed_lag_offsets", **labels) == 0
    newest = pc.max(rows["append_time"].cast(pa.int64())).as_py() / 1_000_000
    assert told("tidemark_speed_head_timestamp_seconds", **labels) == newest


def test_events_in_partitions_that_are_added_under_load_are_counted(job, send, until, speed_store, expected):
    sandbox, store = job.sandbox, speed_store(job.sandbox)
    before, partitions = put_count(store), len(end_of(sandbox))
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, sandbox, 30_000, seed=3)
        until(lambda: put_count(store) > before)
        Log(sandbox.settings, sandbox.domain).add_partitions(partitions + 3)
        sending.result()
    send(sandbox, 2_000, seed=4)
    end = end_of(sandbox)
    assert all(end[added] > 0 for added in range(partitions, partitions + 3))
    until(lambda: heads(store) == end)
    assert_equal(store, expected(sandbox))


def test_where_another_reader_has_moved_on_the_job_opens_anew_and_the_store_is_exact(
    job, send, until, speed_store, expected
):
    sandbox, store = job.sandbox, speed_store(job.sandbox)
    until(lambda: heads(store) == end_of(sandbox))
    with frozen(job.pid), closing(reader(sandbox, store)) as another:
        send(sandbox, 2_000, seed=1)
        assert catch_up(sandbox, store, another, states(sandbox, store)) == 0
    until(lambda: "stands elsewhere" in job.logs())
    send(sandbox, 2_000, seed=2)
    end = end_of(sandbox)
    until(lambda: heads(store) == end)
    assert_equal(store, expected(sandbox))


def test_no_secret_is_in_an_argv_in_a_log_or_in_what_a_runner_writes_and_only_we_can_read_that(job, until):
    until(lambda: "'reading'" in job.logs())
    settings = job.sandbox.settings
    secrets = [settings.s3_secret_key.get_secret_value(), settings.store_url.get_secret_value().split("@")[0]]
    processes = [psutil.Process(job.pid), *family(job.pid)]
    files = [path for path in job.folder.rglob("*") if path.is_file()]
    told = [" ".join(process.cmdline()) for process in processes]
    told += [path.read_bytes().decode(errors="replace") for path in files]
    assert any("streaming.speed" in each for each in told)
    assert len(processes) == {"prism": 2, "flink": 4}[job.runner]
    for secret in secrets:
        assert len(secret) > 20
        assert not any(secret in each for each in [*told, job.logs()])
    for path in job.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
