"""Quix Streams as its documentation shows it: `group_by` the row, a stateful function, a batching sink.

State is in RocksDB with a changelog topic, at-least-once, which are the defaults. Tuned: events are parsed by orjson,
the sink keeps of a batch only each row's last total, and a checkpoint is committed every second instead of five.
"""

from __future__ import annotations

from counted import Answer, counted, read_told
from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch


class AnswerSink(BatchingSink):
    """Each row as it was last told."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def write(self, batch: SinkBatch) -> None:
        last = {item.key: item.value for item in batch}
        self._answer.put((row, events, cents) for row, (events, cents) in last.items())


def read_row(value: bytes) -> list[tuple[str, int]]:
    row = counted(value)
    return [] if row is None else [row]


def add(row: list, state: State) -> list[int]:
    """The row's new total."""
    events, cents = state.get("total", default=(0, 0))
    total = [events + 1, cents + row[1]]
    state.set("total", total)
    return total


def main() -> None:
    told = read_told()
    app = Application(
        broker_address=told.bootstrap,
        consumer_group=told.topic,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=f"{told.folder}/state",
        loglevel="WARNING",
        # The arm is stopped while its backlog is written, and stays a member of its group.
        consumer_extra_config={"session.timeout.ms": 250_000, "fetch.queue.backoff.ms": 5},
    )
    events = app.dataframe(app.topic(told.topic, value_deserializer="bytes"))
    rows = events.apply(read_row, expand=True)
    grouped = rows.group_by(lambda row: row[0], name="row", key_serializer="str", key_deserializer="str")
    grouped.apply(add, stateful=True).sink(AnswerSink(Answer(told)))
    app.run()


if __name__ == "__main__":
    main()
