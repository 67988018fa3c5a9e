"""Commits a tile: its states and its manifest in one Delta commit, next in turn or not at all.

A tile is built from raw, or folded from adjoining ones, whose place it takes. States that this process can hold are
written from here by delta-rs, in a twentieth of the time that a write of Spark's takes; larger ones by Spark.

Invariant: a commit lands only on the state of the mart that `check_tile` or `check_fold` has judged. Every commit
carries the one transaction id with the version after the last one that it saw, so of two builders one is refused,
whether they meet (Delta finds a conflict) or one comes late (delta-rs is not asked; Spark skips it, silently; so we
look). Whatever else commits in between, such as a vacuum, changes no tile and disturbs nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import lit
from pyspark.sql.types import StructType

from jobs.session import s3a_uri
from lake.errors import TileRefused
from lake.folds import check_fold, folded
from lake.marts import MANIFEST, TILE, Manifest, check_tile, manifests
from lake.settings import Settings
from lake.tables import FollowedTable, open_table, write_file

TRANSACTION = "tidemark-tile"
ROWS_PER_FILE = 1_000_000
LARGE_BYTES = 32 << 20
"""States that are larger, encoded, are written by Spark."""
_TRIES = 3


@dataclass(frozen=True)
class Turn:
    """A tile that fits the mart as it was looked at, and the transaction version that only one builder can take."""

    uri: str
    manifest: Manifest
    action: str
    version: int
    folded: tuple[str, ...] = ()
    """The names of the tiles that this one is folded from."""
    table: DeltaTable | None = field(default=None, compare=False, repr=False)
    """The mart as it was looked at; None where there was none."""

    @property
    def guard(self) -> dict[str, str]:
        """Delta's compare-and-set, as options of Spark's write; without it nothing is compared."""
        return {"txnAppId": TRANSACTION, "txnVersion": str(self.version)}

    @property
    def names(self) -> list[str]:
        """Of the tiles whose place this one takes, its own included."""
        return sorted({self.manifest.tile, *self.folded})


def take_turn(settings: Settings, uri: str, manifest: Manifest, mart: FollowedTable | None = None) -> Turn:
    """Judge the tile on the newest version of the mart (`mart`, if it is followed already). Raises TileRefused."""
    table = (mart or FollowedTable(settings, uri)).now()
    existing = manifests(table, settings, uri) if table else []
    return Turn(uri, manifest, check_tile(existing, manifest), _taken(table) + 1, table=table)


def take_fold(settings: Settings, table: DeltaTable, uri: str, tiles: Sequence[Manifest]) -> Turn:
    """The turn to make these tiles one; their states are to be read from `table`, too. Raises TileRefused.

    Its manifest counts the tiles' rows together: how many there are once they are merged, the caller says.
    """
    names = tuple(tile.tile for tile in tiles)
    check_fold(manifests(table, settings, uri, names), tiles)
    return Turn(uri, folded(tiles), "fold", _taken(table) + 1, names)


def commit_tile(settings: Settings, turn: Turn, schema: pa.Schema, states: pa.Table) -> None:
    """Write states (in the view's schema) and manifest. Raises TileRefused if another builder's commit came first."""
    manifest = turn.manifest
    told = pa.table({MANIFEST: [manifest.model_dump_json()]})
    file = f"{uuid.uuid4()}.parquet"
    rows = pa.concat_tables([states, told], promote_options="permissive")
    size = write_file(settings, turn.uri, file, rows)
    added = AddAction(
        file, size, {TILE: manifest.tile}, time.time_ns() // 1_000_000, True, json.dumps({"numRecords": len(rows)})
    )
    transactions = [Transaction(TRANSACTION, turn.version)] if turn.guard else []
    properties = CommitProperties({"userMetadata": manifest.build_id}, app_transactions=transactions)
    for tries_left in reversed(range(_TRIES)):
        try:
            table = _judged(settings, turn, schema)
            table.create_write_transaction(
                [added], "overwrite", table.schema(), [TILE], [(TILE, "in", turn.names)], commit_properties=properties
            )
            return
        # Two that make a mart at once may both write its metadata, which stops both their commits; and what was not
        # answered in time may have been done, by us or by another.
        except (DeltaError, OSError) as error:
            if _landed(settings, turn):
                return
            if not tries_left:
                raise _reason(settings, turn, error) from error


def _judged(settings: Settings, turn: Turn, schema: pa.Schema) -> DeltaTable:
    """The mart as it was judged: nobody has taken the turn; from this version on, Delta sees to it."""
    if (table := turn.table) is not None:
        table.update_incremental()
    else:
        table = open_table(settings, turn.uri) or _create(settings, turn.uri, schema)
    if turn.guard and _taken(table) >= turn.version:
        raise _refused(turn)
    return table


def commit_large_tile(
    session: SparkSession, settings: Settings, turn: Turn, schema: StructType, states: DataFrame | None
) -> None:
    """The same, by Spark; states None: no rows."""
    manifest = turn.manifest
    rows = session.range(1).select(
        lit(manifest.tile).alias(TILE),
        lit(manifest.model_dump_json()).alias(MANIFEST),
        *(lit(None).cast(field.dataType).alias(field.name) for field in schema),
    )
    if states is not None:
        nothing = lit(None).cast("string").alias(MANIFEST)
        rows = states.select(lit(manifest.tile).alias(TILE), nothing, "*").unionAll(rows)
    writer = rows.coalesce(1 + manifest.rows // ROWS_PER_FILE).write.format("delta").mode("overwrite")
    writer = writer.option("replaceWhere", f"{TILE} IN ({', '.join(map(repr, turn.names))})").partitionBy(TILE)
    failure: Exception | None = None
    try:
        writer.options(**turn.guard).option("userMetadata", manifest.build_id).save(s3a_uri(turn.uri))
    except (Py4JJavaError, PySparkException) as error:
        failure = error
    if not _landed(settings, turn):
        raise _reason(settings, turn, failure) from failure


def _landed(settings: Settings, turn: Turn) -> bool:
    # One build may commit several tiles to a mart, so its id alone would not tell.
    table, manifest = open_table(settings, turn.uri), turn.manifest
    return table is not None and manifest.build_id in {
        m.build_id for m in manifests(table, settings, turn.uri, [manifest.tile])
    }


def _reason(settings: Settings, turn: Turn, failure: Exception | None) -> Exception:
    """Why a tile has not landed: TileRefused if another's commit has come, else the failure; something is broken."""
    faster = _taken(open_table(settings, turn.uri)) >= turn.version
    return failure if failure and not faster else _refused(turn)


def _refused(turn: Turn) -> TileRefused:
    return TileRefused(
        f"tile {turn.manifest.span} of {turn.uri} by build {turn.manifest.build_id} was not committed: another build "
        "or fold has committed to this mart since this one looked at it; run it again, it will find the tile done or "
        "redo it"
    )


def _create(settings: Settings, uri: str, schema: pa.Schema) -> DeltaTable:
    """The empty mart, by whoever comes first."""
    columns = pa.schema([pa.field(TILE, pa.string()), pa.field(MANIFEST, pa.string()), *schema])
    with suppress(DeltaError):  # another builder makes it at this moment
        DeltaTable.create(
            uri,
            columns,
            mode="ignore",
            partition_by=[TILE],
            # As Spark has them, see jobs.session; an opening reads the commits since the last checkpoint.
            configuration={"delta.randomizeFilePrefixes": "true", "delta.checkpointInterval": "20"},
            storage_options=settings.storage_options(),
            raise_if_key_not_exists=False,
        )
    return DeltaTable(uri, storage_options=settings.storage_options())


def _taken(table: DeltaTable | None) -> int:
    """The last transaction version that a builder has committed; -1 if none."""
    version = table.transaction_version(TRANSACTION) if table else None
    return -1 if version is None else version
