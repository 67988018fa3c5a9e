"""The arms that land a topic in a Delta table: the lander as it ships, the same work without its care, and Spark.

What they landed is compared with the truth by counting the events in it, so records that are missing, doubled or
damaged are errors alike.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from lake.raw import Raw
from lake.tables import data_files
from tests.bench.speed_arms.counted import counted
from tests.bench.speed_events import Counts, SpeedEvents
from tests.bench.speed_others import SPARK, ScriptArm
from tests.bench.speed_own import OwnArm
from tests.bench.speed_run import Arm
from tests.bench.speed_stream import Stream


@dataclass
class LandingArm:
    """Like `base`, but its answer is a table at `uri(stream)`."""

    base: Arm
    uri: Callable[[Stream], str]
    _table: tuple[str, DeltaTable] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.base.name

    def prepare(self) -> None:
        self.base.prepare()

    def start(self, stream: Stream) -> subprocess.Popen:
        return self.base.start(stream)

    def progress(self, stream: Stream) -> int:
        table = self._newest(stream)
        return sum(file["num_records"] for file in data_files(table)) if table else 0

    def goal(self, events: Sequence[SpeedEvents]) -> int:
        return sum(each.count for each in events)

    def answer(self, stream: Stream) -> Mapping[tuple, tuple[int, int]]:
        table = self._newest(stream)
        found: Counts = {}
        for batch in table.to_pyarrow_dataset().to_batches(columns=["value"]) if table else ():
            for row, cents in filter(None, map(counted, batch["value"].to_pylist())):
                kind, name, at = row.split("|")
                known = found.get((kind, name, int(at)), (0, 0))
                found[kind, name, int(at)] = known[0] + 1, known[1] + cents
        return found

    def _newest(self, stream: Stream) -> DeltaTable | None:
        """The table as it is now, None before its first commit."""
        uri = self.uri(stream)
        if self._table is None or self._table[0] != uri:
            options = stream.settings.storage_options() if uri.startswith("s3://") else None
            try:
                self._table = uri, DeltaTable(uri, storage_options=options)
            except TableNotFoundError:
                return None
        else:
            self._table[1].update_incremental()
        return self._table[1]


LANDING: dict[str, Arm] = {
    "ours": LandingArm(
        OwnArm("ours", ["streaming.land", "--domain", "{domain}"]),
        lambda stream: Raw(stream.settings, stream.domain).uri,
    ),
    "bare": LandingArm(
        OwnArm("bare loop", ["tests.bench.speed_arms.bare_land", "{domain}"]),
        lambda stream: stream.settings.table_uri("bare", stream.domain.name),
    ),
    "spark": LandingArm(
        ScriptArm("Spark Structured Streaming", "spark_land.py", SPARK.environment),
        lambda stream: str(stream.folder / "table"),
    ),
}
