"""Sends invented events of a domain to its topic: a backlog as fast as possible, or a steady rate.

Invariant: the ledger, if asked for, has one line for each record the broker acknowledged, and no other. Records go
to the partition of their key (murmur2, as every producer of the platform) and are never reordered or doubled by us.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import structlog
import typer
from confluent_kafka import KafkaException, Producer

from lake.domain import load_domain
from lake.errors import BadDomain, TidemarkError, exit_on_error
from lake.kafka_clients import librdkafka_options
from lake.log import MAX_MESSAGE_BYTES, MAX_VALUE_BYTES
from lake.settings import Settings, load_settings
from streaming.events.documents import document_events
from streaming.events.hashtags import hashtag_events
from streaming.events.plates import plate_events
from streaming.events.shop import shop_events
from streaming.events.stocks import stock_events
from streaming.events.stream import BAD, Record, Shares
from streaming.logs import configure_logs
from streaming.topic import find_topic

log = structlog.get_logger()

GENERATORS: dict[str, Callable[[int, Shares, Callable[[], int], int], Iterator[Record]]] = {
    "documents": document_events,
    "hashtags": hashtag_events,
    "plates": plate_events,
    "shop": shop_events,
    "stocks": stock_events,
}
"""For each shipped domain: (seed, shares, clock, history_ms) -> its events."""

Header = tuple[str, str | bytes | None]
_QUEUED_RECORDS = 100_000
_REPORT_SECONDS = 5.0


# What an idempotent producer meets where it may not write. The second is how its flush fails, now and then.
_FATAL = (KafkaException, SystemError)


class NotDelivered(TidemarkError):
    """The broker refused records, or did not answer in time."""


class ValueTooLarge(TidemarkError):
    """A record's value is over the limit; nothing of it was sent."""


class EventProducer:
    """An idempotent producer of one topic that can write down what was acknowledged. Close it to flush."""

    def __init__(self, settings: Settings, topic: str, ledger: IO[str] | None = None, **options: object) -> None:
        self._topic, self._bootstrap, self._ledger = topic, settings.kafka_bootstrap, ledger
        self.positions: dict[int, int] = {}
        """For each partition that was sent to, the offset after the last acknowledged record."""
        self._failure: str | None = None
        self._reports: dict[str, Callable[[Any, Any], None]] = {}
        self._producer = Producer(
            {
                **librdkafka_options(settings),
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "log_level": 3,  # errors; what passes by itself at a broker's start is no news
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": _QUEUED_RECORDS,
                "queue.buffering.max.kbytes": 64 << 10,
                # librdkafka's names, with underscores.
                **{name.replace("_", "."): value for name, value in options.items()},
            }
        )

    def send(self, key: bytes | None, value: bytes | None, kind: str, headers: Sequence[Header] = ()) -> None:
        """Queue one record; waits while the queue is full. Raises ValueTooLarge, or NotDelivered for an earlier one."""
        if value is not None and len(value) > MAX_VALUE_BYTES:
            raise ValueTooLarge(
                f"the value for key {key!r} has {len(value)} bytes, at most {MAX_VALUE_BYTES} are allowed: "
                "split the event, or store its body elsewhere and send its address"
            )
        report = self._reports.get(kind) or self._reports.setdefault(kind, self._report(kind))
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=report, headers=list(headers) or None)
                return
            except BufferError:
                self.poll(0.1)
            except KafkaException as error:
                raise self._refused(error) from None

    def poll(self, seconds: float = 0) -> None:
        """Take in acknowledgements. Raises NotDelivered if the broker refused a record."""
        try:
            self._producer.poll(seconds)
        except _FATAL as error:
            raise self._refused(error) from None
        if self._failure:
            raise self._refused(self._failure)

    def close(self) -> None:
        """Wait until all is acknowledged. Raises NotDelivered if that fails within a minute."""
        try:
            left = self._producer.flush(60)
        except _FATAL as error:
            raise self._refused(error) from None
        self.poll()
        if left:
            raise NotDelivered(
                f"topic '{self._topic}': {left} records were not acknowledged by {self._bootstrap} within a minute; "
                "is it up (`tidemark status`)?"
            )

    def _refused(self, error: object) -> NotDelivered:
        return NotDelivered(
            f"topic '{self._topic}': {self._failure or error}; expected every record to be acknowledged"
        )

    def _report(self, kind: str) -> Callable[[Any, Any], None]:
        def report(error: Any, message: Any) -> None:
            if error is not None:
                self._failure = error.str()
                return
            self.positions[message.partition()] = message.offset() + 1
            if self._ledger is not None:
                self._ledger.write(_ledger_line(kind, message))

        return report


def _ledger_line(kind: str, message: Any) -> str:
    value = message.value()
    place = f'"partition":{message.partition()},"offset":{message.offset()},"append_ms":{message.timestamp()[1]}'
    if kind in BAD:
        encoded = json.dumps(None if value is None else base64.b64encode(value).decode())
        return f'{{{place},"kind":"bad","what":"{kind}","value":{encoded}}}\n'
    return f'{{{place},"kind":"good","what":"{kind}","event":{value.decode()}}}\n'


class _Stopped:
    """True once SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self._stopped = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._stopped = True

    def __bool__(self) -> bool:
        return self._stopped


def produce(
    producer: EventProducer, records: Iterator[Record], count: int | None, rate: float | None, stopped: object
) -> None:
    """Send `count` records (None: without end), `rate` a second (None: as fast as it goes), until `stopped` is true."""
    begun = reported = time.monotonic()
    sent, tick = 0, _tick_seconds(rate)
    while not stopped and (count is None or sent < count):
        due = 1000 if rate is None else int((time.monotonic() - begun) * rate) - sent
        due = due if count is None else min(due, count - sent)
        for _ in range(due):
            producer.send(*next(records))
        sent += max(due, 0)
        producer.poll(tick)
        if (now := time.monotonic()) - reported > _REPORT_SECONDS:
            _say_progress(sent, count, now - begun)
            reported = now
    producer.close()
    _say_progress(sent, count, time.monotonic() - begun, "\n")


def _tick_seconds(rate: float | None) -> float:
    """How often records are sent: some twenty at once, since a request costs the broker much and a record little."""
    return 0 if rate is None else min(max(0.02, 20 / rate), 0.1)


def _say_progress(sent: int, count: int | None, seconds: float, end: str = "") -> None:
    rate = int(sent / max(seconds, 1e-9))
    if sys.stderr.isatty():
        goal = f" of {count:,}" if count else ""
        print(f"\r{sent:,}{goal} events sent, {rate:,} a second", end=end, file=sys.stderr, flush=True)
    else:
        log.info("events sent", sent=sent, count=count, events_per_second=rate)


def main(
    domain: str = "shop",
    like: Annotated[str | None, typer.Option(help="Invent events of this domain, if not of its own.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many events; without it, until stopped.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Events a second; without it, all at once.")] = None,
    seed: int = 1,
    history_minutes: Annotated[int, typer.Option(min=0, help="Spread event times over so long before now.")] = 0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of events minutes to hours late.")] = 0.03,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of events sent twice.")] = 0.01,
    malformed: Annotated[float, typer.Option(min=0, max=1, help="Share of malformed records.")] = 0.005,
    conflicts: Annotated[float, typer.Option(min=0, max=1, help="Share of events with another's id.")] = 0.0,
    ledger: Annotated[Path | None, typer.Option(help="Write one JSON line an acknowledged record.")] = None,
) -> None:
    """Produce invented events of a domain."""
    configure_logs()
    if count is None and rate is None:
        raise typer.BadParameter("give --count for a backlog, --rate for a steady stream, or both")
    with exit_on_error():
        settings = load_settings()
        declared = load_domain(domain, settings.domains_dir)
        if (like or domain) not in GENERATORS:
            raise BadDomain(f"domain '{domain}' has no generator of events; --like can be {', '.join(GENERATORS)}")
        topic = find_topic(settings, declared.topic)
        shares = Shares(late, duplicates, malformed, conflicts)
        clock_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731
        records = GENERATORS[like or domain](seed, shares, clock_ms, history_minutes * 60_000)
        stopped = _Stopped()
        file = ledger.open("a", buffering=1 << 20) if ledger else None
        try:
            produce(EventProducer(settings, topic.name, file), records, count, rate, stopped)
        finally:
            if file:
                file.close()


if __name__ == "__main__":
    program = typer.Typer(add_completion=False)
    program.command()(main)
    program(prog_name="tidemark produce")
