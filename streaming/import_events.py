"""Sends files of the past through the log as events of a domain: JSON lines, CSV, Parquet, plain lines.

Invariant: each record of a file is sent once, however often the import is killed and run again, and a file that was
imported is not imported again (import_log.py says how). What is no valid event is sent as it stands, for quarantine.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated

import duckdb
import pyarrow as pa
import structlog
import typer

from lake import expressions
from lake.domain import APPEND_TIME, Domain, load_domain
from lake.errors import LogRecreated, TidemarkError, exit_on_error
from lake.log import MAX_VALUE_BYTES, Log
from lake.parse import parse_sql
from lake.raw_schema import RAW_SCHEMA
from lake.screen import print_json
from lake.settings import Settings, load_settings
from streaming.file_values import Reading, Source, values
from streaming.import_log import (
    CHECKPOINT_SECONDS,
    DONE,
    QUIET_SECONDS,
    RUNNING,
    STOPPED,
    Checkpoint,
    ImportLog,
    header,
)
from streaming.logs import configure_logs
from streaming.produce import EventProducer
from streaming.together import stop_on_signals
from streaming.topic import Topic, TopicWatch

log = structlog.get_logger()
_RECORDS_A_CHUNK = 5_000
_BYTES_A_CHUNK = 8 << 20
_REPORT_SECONDS = 5.0


@dataclass
class Report:
    """What one run did. `found` records had been sent by a run before it; `bad` counts the sent ones by reason."""

    file: str
    sha256: str
    state: str = RUNNING
    records: int = 0
    sent: int = 0
    found: int = 0
    too_long: list[int] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Judge:
    """What the kernel's parse says of values: the key of each event, and its reason if it is none."""

    def __init__(self, domain: Domain, key: str | None) -> None:
        """`key` is an expression over the fields; without one, the key that repeated events are known by."""
        key = key or (domain.dedup.key if domain.dedup else None)
        if key:
            try:
                expressions.check(key, [*domain.fields, APPEND_TIME])
            except ValueError as error:
                raise TidemarkError(f"--key: {error}") from None
        self._db = duckdb.connect(config={"threads": 1, "memory_limit": "512MB"})
        self._db.execute("SET TimeZone = 'UTC'")
        told = f"encode(TRY(({key})::VARCHAR))" if key else "NULL::BLOB"
        self._sql = f'SELECT reason, {told} AS "of:key" FROM ({parse_sql(domain, "batch")}) ORDER BY "offset"'

    def of(self, chunk: list[bytes]) -> Iterator[tuple[str | None, bytes | None]]:
        """(reason, key) of each value, in order."""
        n = len(chunk)
        columns = [
            pa.array([0] * n, pa.int32()),
            pa.array(range(n), pa.int64()),
            pa.array([time.time_ns() // 1000] * n, RAW_SCHEMA.field("append_time").type),
            pa.nulls(n, pa.binary()),
            pa.array(chunk, pa.binary()),
            pa.nulls(n, RAW_SCHEMA.field("headers").type),
        ]
        self._db.register("batch", pa.Table.from_arrays(columns, schema=RAW_SCHEMA))
        judged = self._db.sql(self._sql).to_arrow_table()
        return zip(judged[0].to_pylist(), judged[1].to_pylist(), strict=True)


class Import:
    """One run over one file."""

    def __init__(self, settings: Settings, domain: Domain, source: Source, reading: Reading, key: str | None) -> None:
        self._settings, self._domain, self._source, self._reading = settings, domain, source, reading
        self._judge = Judge(domain, key)
        self.report = Report(source.address, source.sha256())
        self._log = ImportLog(settings, domain, self.report.sha256)
        self._how = json.dumps([reading.kind, reading.delimiter, key])

    def run(self, stop: threading.Event) -> Report:
        """Send what is not sent yet, until `stop` is set. Raises ImportTaken, BadFile, NotDelivered."""
        begun = time.monotonic()
        last = self._log.last()
        if last and last.state == DONE:
            self.report.state, self.report.records, self.report.found = DONE, last.records, last.records
            return self.report
        topic = TopicWatch(self._settings, self._domain.topic).now()
        checkpoint = self._claim(last, topic)
        already = self._log.sent_since(checkpoint, topic) if last else set()
        self.report.found = checkpoint.records + len(already)
        self._send_all(checkpoint, already, topic, stop)
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _claim(self, last: Checkpoint | None, topic: Topic) -> Checkpoint:
        """Make the import ours, from where it stands."""
        if last is None:
            ends = Log(self._settings, self._domain).end()
            return self._log.write(Checkpoint(self.report.sha256, self._source.address, self._how, topic.id, ends))
        if last.reading != self._how:
            raise TidemarkError(
                f"'{self._source.address}' was begun with [format, delimiter, key] = {last.reading}, "
                f"found {self._how}; its records would be others: give the same options to go on"
            )
        if last.topic_id != topic.id:
            raise LogRecreated(
                f"topic '{topic.name}' has id {topic.id}, but '{last.file}' was imported up to record {last.records} "
                f"into {last.topic_id}: the topic was made anew; give the domain a new topic, or a new bucket"
            )
        if last.state == RUNNING:
            log.info("an import of this file was cut off; making sure that it is over", seconds=QUIET_SECONDS)
        self._log.await_quiet()
        return self._log.write(replace(last, state=RUNNING))

    def _send_all(self, checkpoint: Checkpoint, already: set[int], topic: Topic, stop: threading.Event) -> None:
        # What is not acknowledged before a successor may begin must never be sent later.
        timeout_ms = int((QUIET_SECONDS - CHECKPOINT_SECONDS) * 1000)
        producer = EventProducer(self._settings, topic.name, message_timeout_ms=timeout_ms)
        said = saved = time.monotonic()
        numbered = enumerate(values(self._source, self._reading, self._domain))
        for chunk in _chunks(islice(numbered, checkpoint.records, None)):
            if stop.is_set():
                self._save(producer, checkpoint, STOPPED)
                return
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint, saved = self._save(producer, checkpoint, RUNNING), time.monotonic()
            self._send(producer, chunk, already, checkpoint.mark)
            self.report.records = chunk[-1][0] + 1
            if time.monotonic() - said > _REPORT_SECONDS:
                log.info("importing", file=self._source.address, records=self.report.records, sent=self.report.sent)
                said = time.monotonic()
        self._save(producer, checkpoint, DONE)

    def _send(
        self, producer: EventProducer, chunk: list[tuple[int, bytes | None]], already: set[int], mark: str
    ) -> None:
        self.report.too_long += [n for n, value in chunk if value is None or len(value) > MAX_VALUE_BYTES]
        new = [(n, v) for n, v in chunk if v is not None and len(v) <= MAX_VALUE_BYTES and n not in already]
        for (number, value), (reason, key) in zip(new, self._judge.of([v for _, v in new]), strict=True):
            if reason:
                self.report.bad[reason] += 1
            producer.send(key, value, "imported", [header(mark, number)])
        producer.poll()
        self.report.sent += len(new)

    def _save(self, producer: EventProducer, checkpoint: Checkpoint, state: str) -> Checkpoint:
        """Wait until all is acknowledged, then say so."""
        producer.close()
        self.report.state = state
        records = max(self.report.records, checkpoint.records)
        self.report.records = records
        ends = {**checkpoint.ends, **producer.positions}
        return self._log.write(replace(checkpoint, state=state, records=records, ends=ends))


def _chunks(numbered: Iterator[tuple[int, bytes | None]]) -> Iterator[list[tuple[int, bytes | None]]]:
    chunk: list[tuple[int, bytes | None]] = []
    size = 0
    for number, value in numbered:
        chunk.append((number, value))
        size += len(value or b"")
        if len(chunk) >= _RECORDS_A_CHUNK or size > _BYTES_A_CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _print(report: Report) -> None:
    if report.state == DONE and not report.seconds:
        print(f"{report.file}: imported before, {report.records} records; nothing was sent")
        return
    print(f"{report.file}: {report.sent} of {report.records} records sent in {report.seconds:.1f} s", end="")
    print(f", {report.found} had been sent before" if report.found else "")
    for reason, count in report.bad.most_common():
        print(f"  {count} are in quarantine: {reason}")
    if report.too_long:
        print(
            f"  {len(report.too_long)} were left out, being over {MAX_VALUE_BYTES} bytes; the first is record "
            f"{report.too_long[0] + 1}"
        )
    if report.state == STOPPED:
        print("  stopped; run the same again to go on")


def main(
    domain: str,
    files: Annotated[list[str], typer.Argument(help="A file here, or s3://bucket/key.")],
    format: Annotated[str | None, typer.Option(help="jsonl, csv, parquet or lines; by default, by the name.")] = None,
    key: Annotated[str | None, typer.Option(help="An expression over the fields: the events' key.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between the cells of CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of sentences.")] = False,
) -> None:
    """Send the records of files as events of a domain. Exit 1 if it was stopped, or a record was too long."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        declared = load_domain(domain, settings.domains_dir)
        # All are looked at before anything is sent.
        sources = [(Source.of(settings, file), Reading.of(declared, file, format, delimiter)) for file in files]
        stop, reports = stop_on_signals(), []
        for source, reading in sources:
            if not stop.is_set():
                reports.append(Import(settings, declared, source, reading, key).run(stop))
                if not as_json:
                    _print(reports[-1])
        if as_json:
            print_json({"domain": domain, "files": [vars(report) for report in reports]})
        if len(reports) < len(sources) or any(r.state != DONE or r.too_long for r in reports):
            sys.exit(1)


if __name__ == "__main__":
    program = typer.Typer(add_completion=False)
    program.command()(main)
    program(prog_name="tidemark import")
