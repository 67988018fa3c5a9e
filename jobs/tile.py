"""Commits a tile: its states and its manifest in one Delta commit, next in turn or not at all.

A tile is built from raw, or folded from adjoining ones, whose place it takes.

Invariant: a commit lands only on the state of the mart that `check_tile` or `check_fold` has judged. Every commit
carries the one transaction id with the version after the last one that it saw, so of two builders one is refused,
whether they meet (Delta finds a conflict) or one comes late (Delta skips it, silently; so we look). Whatever else
commits in between, such as a vacuum, changes no tile and disturbs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltalake import DeltaTable
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
from lake.tables import open_table

TRANSACTION = "tidemark-tile"
ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True)
class Turn:
    """A tile that fits the mart as it was looked at, and the transaction version that only one builder can take."""

    uri: str
    manifest: Manifest
    action: str
    version: int
    folded: tuple[str, ...] = ()
    """The names of the tiles that this one is folded from."""

    @property
    def replaced(self) -> str:
        """The condition on a mart's rows that they are of the tiles whose place this one takes."""
        names = sorted({self.manifest.tile, *self.folded})
        return f"{TILE} IN ({', '.join(map(repr, names))})"

    @property
    def guard(self) -> dict[str, str]:
        """Delta's compare-and-set, as options of the write."""
        return {"txnAppId": TRANSACTION, "txnVersion": str(self.version)}


def take_turn(settings: Settings, uri: str, manifest: Manifest) -> Turn:
    """Judge the tile on the newest version of the mart. Raises TileRefused."""
    table = open_table(settings, uri)
    existing = manifests(table, settings, uri) if table else []
    return Turn(uri, manifest, check_tile(existing, manifest), _taken(table) + 1)


def take_fold(settings: Settings, table: DeltaTable, uri: str, tiles: Sequence[Manifest]) -> Turn:
    """The turn to make these tiles one; their states are to be read from `table`, too. Raises TileRefused.

    Its manifest counts the tiles' rows together: how many there are once they are merged, the caller says.
    """
    names = tuple(tile.tile for tile in tiles)
    check_fold(manifests(table, settings, uri, names), tiles)
    return Turn(uri, folded(tiles), "fold", _taken(table) + 1, names)


def commit_tile(
    session: SparkSession, settings: Settings, turn: Turn, schema: StructType, states: DataFrame | None
) -> None:
    """Write states (None: no rows) and manifest. Raises TileRefused if another builder's commit came first."""
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
    writer = writer.option("replaceWhere", turn.replaced).partitionBy(TILE)
    failure: Exception | None = None
    try:
        writer.options(**turn.guard).option("userMetadata", manifest.build_id).save(s3a_uri(turn.uri))
    except (Py4JJavaError, PySparkException) as error:
        failure = error
    table = open_table(settings, turn.uri)
    # One build may commit several tiles to a mart, so its id alone would not tell.
    if table and manifest.build_id in {m.build_id for m in manifests(table, settings, turn.uri, [manifest.tile])}:
        return
    if failure and _taken(table) < turn.version:
        raise failure  # nobody was faster: something is broken
    raise TileRefused(
        f"tile {manifest.span} of {turn.uri} by build {manifest.build_id} was not committed: another build or fold has "
        "committed to this mart since this one looked at it; run it again, it will find the tile done or redo it"
    ) from failure


def _taken(table: DeltaTable | None) -> int:
    """The last transaction version that a builder has committed; -1 if none."""
    version = table.transaction_version(TRANSACTION) if table else None
    return -1 if version is None else version
