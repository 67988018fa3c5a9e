"""A domain as it is served after a build and some speed, made by the kernel alone: no Spark, no Beam, real stores."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
import redis
from pyarrow import fs

from jobs.tile import commit_tile, take_turn
from lake.cuts import EPOCH, Cut, epoch_ms
from lake.dimensions import Dimensions
from lake.kernel import QUARANTINE, Kernel, encode
from lake.marks import marks_of
from lake.marts import Manifest, mart_uri
from lake.raw import Raw
from lake.store import Piece, SpeedStore
from lake.tables import filesystem
from tests.conftest import Sandbox
from tests.jobs.landed import Landed


class Served:
    """Everything that `landed` holds up to now: a tile up to the seal at `frontier`, speed states from there on."""

    def __init__(self, sandbox: Sandbox, landed: Landed, frontier: datetime) -> None:
        self.sandbox, self.settings, self.domain = sandbox, sandbox.settings, sandbox.domain
        self.kernel = Kernel(self.domain, Dimensions(self.settings).table)
        self._landed, self._frontier = landed, frontier
        raw, table = landed.raw, landed.raw.table()
        self.head, self.cut = raw.positions(table), raw.cut(frontier, table)
        seconds = self.settings.segment_seconds
        self._marks = marks_of(self.kernel, self.domain, raw.scan({}, self.head, table), seconds)
        for view in [*self.domain.stored_views, QUARANTINE]:
            self._write_tile(view, EPOCH, frontier, {}, self.cut)
        store = SpeedStore(self.settings.store_url, self.kernel.generation(seconds), self.domain.name)
        for partition, head in self.head.items():
            first = self.cut.get(partition, 0)
            store.open(partition, first, "topic-1")
            if head > first:
                start, end = {partition: first}, {partition: head}
                states = {view: encode(self._states(raw, view, start, end)) for view in self.domain.stored_views}
                piece = Piece(epoch_ms(frontier), first, head, epoch_ms(frontier), states)
                assert store.put(partition, first, [piece], "topic-1", 0)

    def build(self, t1: datetime) -> None:
        """The next tile of each view, up to `t1`."""
        self._landed.seal(t1)
        raw = self._landed.raw
        t0, start, self._frontier, self.cut = self._frontier, self.cut, t1, raw.cut(t1, raw.table())
        for view in [*self.domain.stored_views, QUARANTINE]:
            self._write_tile(view, t0, t1, start, self.cut)

    def contents(self) -> dict[str, object]:
        """All that lake and store hold of this sandbox: each object's size and time, each key's value."""
        selector = fs.FileSelector(self.settings.bucket, recursive=True)
        infos = filesystem(self.settings).get_file_info(selector)
        objects = {info.path: (info.size, info.mtime_ns) for info in infos if info.type == fs.FileType.File}
        client = redis.Redis.from_url(self.settings.store_url.get_secret_value())
        keys = {key.decode(): client.dump(key) for key in client.scan_iter(f"*{self.domain.name}*")}
        return {**objects, **keys}

    def _states(self, raw: Raw, view: str, start: Cut, end: Cut) -> pa.Table:
        parts = []
        for rows in raw.scan(start, end):
            self._marks.parse(self.kernel, rows)
            parts.append(self.kernel.aggregate(names=[view])[view])
        return self.kernel.merge(view, parts)

    def _write_tile(self, view: str, t0: datetime, t1: datetime, start: Cut, end: Cut) -> None:
        states, definition = self._states(self._landed.raw, view, start, end), self.kernel.definition_hash(view)
        manifest = Manifest(
            t0=t0, t1=t1, cut_start=start, cut_end=end, definition_hash=definition, rows=len(states), build_id="test",
            **dict.fromkeys(("events", "good", "quarantined", "markers"), 0),
        )  # fmt: skip
        uri = mart_uri(self.settings, self.domain.name, view, definition)
        commit_tile(self.settings, take_turn(self.settings, uri, manifest), states.schema, states)


def orders(source: random.Random, at: datetime, count: int) -> Iterable[dict]:
    """Shop orders of three countries, some of them hours before."""
    for _ in range(count):
        yield {
            "event_id": f"{source.getrandbits(48)}",
            "event_type": "order",
            "event_time": epoch_ms(at) - source.choice((0, 0, 7_200_000)),
            "user_id": f"u{source.randrange(20)}",
            "country": source.choice(("DE", "FR", "ÅÖ")),
            "amount": f"{source.randrange(10_000) / 100:.2f}",
        }
