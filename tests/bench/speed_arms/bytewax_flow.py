"""Bytewax as its documentation shows it: Kafka source, `stateful_batch` by row, a dynamic sink, recovery in SQLite.

Tuned: messages are parsed a batch at a time by orjson, and a row is told once for a batch of its events, not for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from counted import Answer, Told, counted, read_told

_MESSAGES = 10_000
_EPOCH = timedelta(seconds=10)

Total = tuple[int, int]


class Sum(StatefulBatchLogic):
    """Events and cents of one row."""

    def __init__(self, total: Total | None) -> None:
        self._events, self._cents = total or (0, 0)

    def on_batch(self, values: list[int]) -> tuple[Iterable[Total], bool]:
        self._events += len(values)
        self._cents += sum(values)
        return [(self._events, self._cents)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Total:
        return self._events, self._cents


class AnswerPartition(StatelessSinkPartition):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def write_batch(self, items: list[tuple[str, Total]]) -> None:
        self._answer.put((row, events, cents) for row, (events, cents) in dict(items).items())


class AnswerSink(DynamicSink):
    def __init__(self, told: Told) -> None:
        self._told = told

    def build(self, step_id: str, worker_index: int, worker_count: int) -> AnswerPartition:
        return AnswerPartition(Answer(self._told))


def read_rows(messages: list[KafkaSourceMessage]) -> Iterable[tuple[str, int]]:
    return [row for message in messages if (row := counted(message.value)) is not None]


def main() -> None:
    told = read_told()
    recovery = Path(told.folder) / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    flow = Dataflow("counts")
    source = KafkaSource(
        [told.bootstrap], [told.topic], batch_size=_MESSAGES, add_config={"fetch.queue.backoff.ms": "5"}
    )
    messages = op.input("topic", flow, source)
    rows = op.flat_map_batch("parse", messages, read_rows)
    totals = op.stateful_batch("count", rows, Sum)
    op.output("answer", totals, AnswerSink(told))
    cli_main(flow, epoch_interval=_EPOCH, recovery_config=RecoveryConfig(str(recovery)))


if __name__ == "__main__":
    main()
