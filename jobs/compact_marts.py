"""Folds old tiles of a domain's marts into one: `python -m jobs.compact_marts --domain shop`.

Invariant: a fold takes the place of exactly the tiles whose states it holds, merged by the kernel, in one commit that
is next in turn. So answers and frontiers are what they were, and whoever else commits to the mart meanwhile, a build
or another fold, wins or loses as a whole.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from jobs.carry import HELD_BYTES, PARCEL, Buckets, collect, merge_parcels, to_parcels, unpack
from jobs.columns import spark_schema
from jobs.program import Say, argument_parser, say
from jobs.session import (
    BYTES_PER_BATCH,
    ROWS_PER_BATCH,
    SHUFFLE_PARTITIONS,
    start_session,
    with_secrets,
    without_secrets,
)
from jobs.tile import LARGE_BYTES, commit_large_tile, commit_tile, take_fold
from lake.cuts import format_time, parse_time
from lake.domain import Domain
from lake.errors import TidemarkError, TileRefused, exit_on_error
from lake.folds import folds_of
from lake.kernel import COUNTS, Kernel
from lake.marts import MANIFEST, TILE, Manifest, built_tiles, mart_uri
from lake.registry import live_domain
from lake.settings import Settings, load_settings
from lake.tables import data_files, open_table, stream_file


@dataclass(frozen=True)
class Folded:
    """One tile that was made of several: their rows together, its rows, and the events that both count."""

    view: str
    t0: str
    t1: str
    tiles: int
    rows_before: int
    rows: int
    events: int
    seconds: float


class Compaction:
    """One run over all marts of a domain; what is refused in one view stops no other."""

    def __init__(self, settings: Settings, domain: Domain, as_of: datetime | None, say: Say) -> None:
        self._settings, self._domain, self._as_of, self._say = settings, domain, as_of, say
        self._kernel = Kernel(domain)
        self._session: SparkSession | None = None
        self.folded: list[Folded] = []
        self.refused: list[TidemarkError] = []

    def run(self) -> None:
        """Fold what is old enough in every view and in the quarantine. Refusals are kept, not raised."""
        for view in (name for name in self._kernel.names if name != COUNTS):
            definition = self._kernel.definition_hash(view)
            run = built_tiles(self._settings, self._domain.name, view, definition)
            for tiles in folds_of(run, self._settings.tile_events, self._as_of):
                try:
                    self.fold(view, tiles)
                except TileRefused as refusal:
                    self.refused.append(refusal)

    def fold(self, view: str, tiles: Sequence[Manifest]) -> None:
        """Make one tile of these. Raises TileRefused if one is not there any more, or another commit came first."""
        began = time.monotonic()
        uri = mart_uri(self._settings, self._domain.name, view, self._kernel.definition_hash(view))
        table = open_table(self._settings, uri)
        if table is None:
            raise TileRefused(f"{uri} is gone since this run looked; run it again")
        turn = take_fold(self._settings, table, uri, tiles)
        session = self._started()
        parcels = self._parcels(session, view, uri, _files(table, turn.folded)).persist()
        try:
            [(rows, size)] = parcels.agg(f.sum("rows"), f.sum(f.length("states"))).collect()
            manifest = turn.manifest.model_copy(update={"rows": rows or 0, "build_id": secrets.token_hex(8)})
            before, turn, schema = turn.manifest.rows, replace(turn, manifest=manifest), self._kernel.schema(view)
            if size and size > LARGE_BYTES:
                states = unpack(parcels, view, schema)
                commit_large_tile(session, self._settings, turn, spark_schema(schema), states)
            else:
                commit_tile(self._settings, turn, schema, self._kernel.merge(view, collect(parcels, view)))
        finally:
            parcels.unpersist()
        self._say(f"{view}: {len(tiles)} tiles are one, {manifest.span}, {before} rows are {manifest.rows}")
        times = format_time(manifest.t0), format_time(manifest.t1)
        counts = len(tiles), before, manifest.rows, manifest.events
        self.folded.append(Folded(view, *times, *counts, round(time.monotonic() - began, 1)))

    def _parcels(self, session: SparkSession, view: str, uri: str, paths: list[str]) -> DataFrame:
        """The files' states, merged."""
        settings = without_secrets(self._settings)
        read = partial(_read_states, settings=settings, domain=self._domain, view=view, uri=uri, paths=paths)
        count = len(paths)
        numbers = session.range(0, count, 1, min(count, SHUFFLE_PARTITIONS))
        return merge_parcels(numbers.mapInArrow(read, spark_schema(PARCEL)), self._domain)

    def _started(self) -> SparkSession:
        if self._session is None:
            self._say("starting Spark")
            self._session = start_session(self._settings, f"compact_marts {self._domain.name}")
        return self._session


def _files(table: DeltaTable, tiles: Sequence[str]) -> list[str]:
    return [file["path"] for file in data_files(table) if file[f"partition.{TILE}"] in tiles]


def _read_states(
    numbers: Iterator[pa.RecordBatch], settings: Settings, domain: Domain, view: str, uri: str, paths: list[str]
) -> Iterator[pa.RecordBatch]:
    """In a worker: the states in the files with these numbers, as parcels; what is held at once is bounded."""
    kernel, buckets, settings = Kernel(domain), Buckets(), with_secrets(settings)
    schema, keys = kernel.schema(view), kernel.keys(view)

    def parcels(held: list[pa.Table]) -> Iterator[pa.RecordBatch]:
        for bucket, part in buckets.split(kernel.merge(view, held), keys):
            yield from to_parcels(view, bucket, part)

    held: list[pa.Table] = []
    for number in (number for batch in numbers for number in batch["id"].to_pylist()):
        columns = [MANIFEST, *schema.names]
        for rows in stream_file(settings, uri, paths[number], columns, ROWS_PER_BATCH, BYTES_PER_BATCH):
            held.append(rows.filter(rows[MANIFEST].is_null()).select(schema.names).cast(schema))
            if sum(states.nbytes for states in held) > HELD_BYTES:
                yield from parcels(held)
                held = []
    yield from parcels(held)


def report(folded: Sequence[Folded], seconds: float) -> str:
    """The outcome, a line a fold."""
    lines = [
        f"{each.view} {each.t0} .. {each.t1}: {each.tiles} tiles are one, {each.rows_before} rows are {each.rows}"
        for each in folded
    ]
    return "\n".join([*(lines or ["no tiles are old enough to be folded"]), f"{seconds:.1f} s in all"])


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        compaction = Compaction(settings, domain, arguments.as_of, say)
        compaction.run()
        seconds = round(time.monotonic() - began, 1)
        if arguments.json:
            folded = [asdict(each) for each in compaction.folded]
            refused = [str(refusal) for refusal in compaction.refused]
            print(json.dumps({"domain": domain.name, "folded": folded, "refused": refused, "seconds": seconds}))
        else:
            print(report(compaction.folded, seconds))
        if compaction.refused:
            raise TileRefused("\n".join(str(refusal) for refusal in compaction.refused))


def _arguments() -> argparse.Namespace:
    parser = argument_parser(
        "python -m jobs.compact_marts", "Fold old tiles: by day once a day is past for a day, by month after 31 days."
    )
    parser.add_argument("--as-of", type=parse_time, help="count days up to here; without it, to each view's frontier")
    return parser.parse_args()


if __name__ == "__main__":
    main()
