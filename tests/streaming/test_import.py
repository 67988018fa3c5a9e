"""Imports through a real log: each record of a file once, whatever dies; what is bad is in quarantine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from lake.kernel import COUNTS, Kernel
from lake.log import MAX_VALUE_BYTES, Log
from lake.tables import filesystem
from streaming import import_events, import_log
from streaming.file_values import Reading, Source
from streaming.import_events import Import
from streaming.import_log import IMPORT_HEADER, RUNNING, ImportLog, ImportTaken, header
from streaming.produce import EventProducer

ROOT = Path(__file__).parents[2]
NOON_MS = 1_795_262_400_000


class Never:
    """A stop that never comes, or after so many looks."""

    def __init__(self, looks: int | None = None) -> None:
        self._looks = looks

    def is_set(self) -> bool:
        if self._looks is not None:
            self._looks -= 1
        return self._looks is not None and self._looks < 0


def event(number: int) -> bytes:
    told = {
        **{
            "event_id": f"e{number}",
            "event_type": "order",
            "event_time": NOON_MS + number,
            "user_id": f"u{number % 50}",
        },
        **{"country": ("DE", "FR")[number % 2], "amount": "1.25"},
    }
    return json.dumps(told).encode()


def history(folder: Path, events: int, bad: int = 0, name: str = "history.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"\n".join([*map(event, range(events)), *[b"bad"] * bad]) + b"\n")
    return path


def begin(sandbox, path: Path | str, key: str | None = "user_id") -> Import:
    source = Source.of(sandbox.settings, str(path))
    return Import(sandbox.settings, sandbox.domain, source, Reading.of(sandbox.domain, str(path)), key)


@pytest.fixture
def command(sandbox) -> Iterator[Callable[..., subprocess.Popen]]:
    """command(path, ...): `tidemark import` as a process, killed at the end if it is still there."""
    running = []

    def start(*arguments: object) -> subprocess.Popen:
        line = [sys.executable, "-m", "lake.cli", "import", sandbox.domain.name, *map(str, arguments)]
        running.append(subprocess.Popen(line, cwd=ROOT, env=sandbox.environment, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def numbers(rows: pa.Table) -> Counter:
    """How often each record of a file is in the log."""
    headers = [told["value"] for row in rows["headers"].to_pylist() for told in row if told["key"] == IMPORT_HEADER]
    assert len(headers) == len(rows)
    return Counter(int(value.rpartition(b":")[2]) for value in headers)


def test_a_file_is_imported_once_and_its_events_come_out_of_the_kernel(sandbox, read_log, tmp_path):
    path = history(tmp_path, events=12_000, bad=3)
    report = begin(sandbox, path).run(Never())
    assert (report.state, report.records, report.sent, report.bad) == ("done", 12_003, 12_003, {"bad_json": 3})
    rows = read_log(sandbox)
    kernel = Kernel(sandbox.domain)
    results = kernel.run(rows)
    states = kernel.merge("revenue_by_country_hour", [results["revenue_by_country_hour"]])
    values = kernel.present("revenue_by_country_hour", states).to_pylist()
    assert [(row["country"], row["orders"], str(row["revenue"])) for row in values] == [
        ("DE", 6_000, "7500.00"),
        ("FR", 6_000, "7500.00"),
    ]
    assert pa.compute.sum(results[COUNTS]["quarantined"]).as_py() == 3
    partitions = {}
    for key, partition in zip(rows["key"].to_pylist(), rows["partition"].to_pylist(), strict=True):
        assert key is None or partitions.setdefault(key, partition) == partition
    assert len(partitions) == 50

    again = begin(sandbox, path.rename(tmp_path / "other-name.jsonl")).run(Never())
    assert (again.state, again.sent, again.found) == ("done", 0, 12_003)
    assert sum(Log(sandbox.settings, sandbox.domain).end().values()) == 12_003


def test_an_object_of_the_lake_is_imported_and_what_is_too_long_is_told(sandbox, read_log):
    address = f"{sandbox.settings.bucket}/old/history.csv"
    header_line = b"event_id,event_type,event_time,user_id,country,amount,page\n"
    rows = [f"e{n},order,{NOON_MS + n},u1,DE,2.50,\n".encode() for n in range(10)]
    with filesystem(sandbox.settings).open_output_stream(address) as stream:
        stream.write(header_line + b"".join(rows) + b"x" * (MAX_VALUE_BYTES + 10) + b"\n" + rows[0])
    report = begin(sandbox, f"s3://{address}").run(Never())
    assert (report.state, report.sent, report.too_long) == ("done", 11, [10])
    [row] = Kernel(sandbox.domain).run(read_log(sandbox))["revenue_by_country_hour"].to_pylist()
    assert (row["orders"], str(row["revenue"])) == (11, "27.50")


def test_an_import_that_is_stopped_goes_on_where_it_was(sandbox, read_log, tmp_path):
    path = history(tmp_path, events=12_000)
    first = begin(sandbox, path).run(Never(looks=1))
    assert (first.state, first.records, first.sent) == ("stopped", 5_000, 5_000)
    second = begin(sandbox, path).run(Never())
    assert (second.state, second.found, second.sent) == ("done", 5_000, 7_000)
    assert numbers(read_log(sandbox)) == dict.fromkeys(range(12_000), 1)


def test_options_may_not_change_halfway(sandbox, tmp_path):
    path = history(tmp_path, events=6_000)
    assert begin(sandbox, path).run(Never(looks=0)).state == "stopped"
    with pytest.raises(import_events.TidemarkError, match=r"was begun with .*user_id.*give the same options"):
        begin(sandbox, path, key="country").run(Never())


@pytest.mark.parametrize("reads_back", [True, False])
def test_a_killed_import_goes_on_without_loss_or_double(
    sandbox, command, until, read_log, tmp_path, monkeypatch, reads_back
):
    path = history(tmp_path, events=400_000)
    log = Log(sandbox.settings, sandbox.domain)
    killed = command(path, "--key", "user_id")
    until(lambda: sum(log.end().values()) > 20_000)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    at_kill = ImportLog(sandbox.settings, sandbox.domain, Source.of(sandbox.settings, str(path)).sha256()).last()
    assert at_kill.state == RUNNING and at_kill.records < sum(log.end().values()) < 400_000
    if not reads_back:  # the negative control
        monkeypatch.setattr(ImportLog, "sent_since", lambda *_: set())
    report = begin(sandbox, path).run(Never())
    assert report.state == "done"
    found = numbers(read_log(sandbox))
    assert set(found) == set(range(400_000))
    assert (max(found.values()) == 1) == reads_back


def test_what_was_sent_is_read_back_from_raw_where_it_was_landed(sandbox, workers, until, tmp_path):
    path = history(tmp_path, events=6_000)
    assert begin(sandbox, path).run(Never(looks=1)).sent == 5_000
    mark = Source.of(sandbox.settings, str(path)).sha256()
    checkpoints = ImportLog(sandbox.settings, sandbox.domain, mark)
    before = import_log.replace(checkpoints.last(), ends=dict.fromkeys(range(4), 0), records=0)
    workers.start("streaming.land", sandbox)
    raw = import_log.Raw(sandbox.settings, sandbox.domain)
    raw.await_positions(Log(sandbox.settings, sandbox.domain).end(), 60)
    producer = EventProducer(sandbox.settings, sandbox.domain.topic)
    producer.send(b"u1", event(5_500), "imported", [header(mark[:16], 5_500)])
    producer.send(b"u1", event(1), "imported", [header("another", 5_600)])
    producer.close()
    topic = import_events.TopicWatch(sandbox.settings, sandbox.domain.topic).now()
    assert checkpoints.sent_since(before, topic) == {*range(5_000), 5_500}


def test_of_two_importers_of_one_file_one_is_refused(sandbox, tmp_path):
    path = history(tmp_path, events=6_000)
    first, second = begin(sandbox, path), begin(sandbox, path)
    assert first.run(Never(looks=0)).state == "stopped"
    with pytest.raises(ImportTaken, match="another process imports the file"):
        second.run(Never())
    assert sum(Log(sandbox.settings, sandbox.domain).end().values()) == 0


def test_the_command_says_what_it_sent_and_ends_with_one_if_something_was_left_out(command, tmp_path):
    path = history(tmp_path, events=10, bad=1)
    process = command(path, "--json")
    told = json.loads(process.communicate(timeout=60)[0])["files"][0]
    assert process.returncode == 0
    assert (told["sent"], told["bad"], told["state"]) == (11, {"bad_json": 1}, "done")
    path.write_bytes(b"x" * (MAX_VALUE_BYTES + 1))
    process = command(path)
    assert "1 were left out" in process.communicate(timeout=60)[0]
    assert process.returncode == 1
