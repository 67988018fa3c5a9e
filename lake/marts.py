"""Marts: the batch layer's Delta tables of states, in tiles that adjoin from the beginning of the log to the frontier.

Invariant: a tile is appended exactly at the frontier or replaces the tile with identical cuts; builder and reader both
check it. Each tile holds one manifest row, an empty tile too, in the same commit as its states.

A view that is defined anew has a new table, marts/<domain>/<view>/<definition hash>, so versions of a domain share the
marts of the views that are the same in both, and none disturbs another.

Columns: `tile` (partition column: T0), `manifest` (JSON on one row a tile, NULL on the others), then the view's keys
and states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

import pyarrow as pa
from deltalake import DeltaTable
from pydantic import BaseModel, ConfigDict

from lake.cuts import EPOCH, Cut, format_time
from lake.errors import MartDamaged, TileRefused
from lake.kernel import QUARANTINE, Kernel
from lake.settings import Settings
from lake.tables import FollowedTable, data_files, open_table, read_file

TILE = "tile"
MANIFEST = "manifest"


class Manifest(BaseModel):
    """What one tile covers: the events of [t0, t1), which are the offsets [cut_start, cut_end)."""

    model_config = ConfigDict(frozen=True)

    t0: datetime
    t1: datetime
    cut_start: Cut
    cut_end: Cut
    definition_hash: str
    rows: int
    events: int
    good: int
    quarantined: int
    markers: int
    build_id: str
    duplicates: int = 0
    announced: dict[int, dict[str, int]] = {}
    """Of each partition, the highest version of each dimension that was announced before `cut_end`."""

    @property
    def tile(self) -> str:
        return format_time(self.t0)

    @property
    def span(self) -> str:
        return f"[{format_time(self.t0)}, {format_time(self.t1)})"


def unbroken(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The tiles from EPOCH on that adjoin in time and offsets, up to the first hole. Raises MartDamaged on overlap."""
    run: list[Manifest] = []
    for manifest in sorted(manifests, key=lambda m: m.t0):
        end, cut = (run[-1].t1, run[-1].cut_end) if run else (EPOCH, {})
        if manifest.t0 < end or (manifest.t0 == end and manifest.cut_start != cut):
            raise MartDamaged(
                f"tile {manifest.span} with cut {manifest.cut_start} does not adjoin the tiles before it, "
                f"which end at {format_time(end)} with cut {cut}; rebuild the mart from raw"
            )
        if manifest.t0 > end:
            break
        run.append(manifest)
    return run


def check_tile(existing: Iterable[Manifest], new: Manifest) -> str:
    """'append' or 'replace'; raises TileRefused, saying why, if `new` may not be committed beside `existing`."""
    existing = list(existing)
    others = {m.definition_hash for m in existing} - {new.definition_hash}
    if others:
        raise TileRefused(
            f"the mart holds tiles of definition {', '.join(sorted(others))}, this one is {new.definition_hash}: "
            "the view, DuckDB or the kernel has changed; rebuild the mart from raw"
        )
    for manifest in existing:
        if manifest.t0 == new.t0:
            if (manifest.t1, manifest.cut_start, manifest.cut_end) == (new.t1, new.cut_start, new.cut_end):
                return "replace"
            raise TileRefused(
                f"{new.span} starts like tile {manifest.span} but has other cuts ({new.cut_start} to {new.cut_end}, "
                f"there {manifest.cut_start} to {manifest.cut_end}); {_rebuild(manifest)}"
            )
    run = unbroken(existing)
    end, cut = (run[-1].t1, run[-1].cut_end) if run else (EPOCH, {})
    if new.t0 > end:
        raise TileRefused(
            f"{new.span} does not start at the frontier {format_time(end)}; "
            f"build [{format_time(end)}, {format_time(new.t0)}) first"
        )
    if new.t0 < end:
        [holder] = (manifest for manifest in run if manifest.t0 < new.t0 < manifest.t1)
        raise TileRefused(f"{new.span} is no tile, but begins within tile {holder.span}; {_rebuild(holder)}")
    if new.cut_start != cut:
        raise TileRefused(
            f"{new.span} starts with cut {new.cut_start}, but the frontier {format_time(end)} has cut {cut}: "
            "raw has changed since; run `tidemark verify`"
        )
    return "append"


def _rebuild(tile: Manifest) -> str:
    """What to do instead of building a part of a tile, which may be one of old slices that were folded."""
    return f"rebuild that tile as a whole, with --t0 {format_time(tile.t0)} --t1 {format_time(tile.t1)}"


@dataclass(frozen=True)
class MartSnapshot:
    """One pinned version of a mart, as far as its tiles of one definition adjoin."""

    version: int
    tiles: list[Manifest]
    files: list[tuple[str, ...]]
    """Of each tile, the data files that hold it. Their names never come again with other contents."""
    read: Callable[[Manifest, tuple[str, ...]], pa.Table] = field(repr=False)

    @cached_property
    def frontier(self) -> datetime:
        """The end of the last tile (excluded); EPOCH where there is none."""
        return self.tiles[-1].t1 if self.tiles else EPOCH

    @cached_property
    def cut(self) -> Cut:
        """cut(frontier): the offsets before it are in the tiles, those from it on are the speed layer's."""
        return self.tiles[-1].cut_end if self.tiles else {}

    @property
    def states(self) -> list[pa.Table]:
        """Each tile's states, read now. Raises MartDamaged."""
        return [self.read(tile, files) for tile, files in zip(self.tiles, self.files, strict=True)]


class Mart:
    """One view's mart, read. Manifests are read with a version, states when they are asked for."""

    def __init__(self, settings: Settings, domain: str, view: str, schema: pa.Schema, definition_hash: str) -> None:
        self.uri = mart_uri(settings, domain, view, definition_hash)
        self._settings = settings
        self._schema = schema
        self._definition_hash = definition_hash
        self._table = FollowedTable(settings, self.uri)
        self._snapshot = MartSnapshot(-1, [], [], self.read)

    def snapshot(self) -> MartSnapshot:
        """The newest version. A mart that was never built is an empty one. Raises MartDamaged."""
        table = self._table.now()
        if table is not None and table.version() != self._snapshot.version:
            self._snapshot = self._load(table)
        return self._snapshot

    def read(self, manifest: Manifest, files: tuple[str, ...]) -> pa.Table:
        """One tile's states, in the view's schema. Raises MartDamaged if they are not what the manifest says."""
        tables = [self._read(path, None) for path in files]
        rows = pa.concat_tables(tables, promote_options="permissive")
        states = rows.filter(rows[MANIFEST].is_null()).drop_columns([MANIFEST])
        if len(states) != manifest.rows:
            raise MartDamaged(
                f"tile {manifest.tile} of {self.uri} holds {len(states)} rows, its manifest says {manifest.rows} for "
                f"{manifest.span}; somebody changed the table; rebuild the mart from raw"
            )
        return states.select(self._schema.names).cast(self._schema)

    def _load(self, table: DeltaTable) -> MartSnapshot:
        paths: dict[str, list[str]] = {}
        for file in data_files(table):
            paths.setdefault(file[f"partition.{TILE}"], []).append(file["path"])
        manifests = {tile: self._manifest(tile, files) for tile, files in paths.items()}
        run = unbroken(m for m in manifests.values() if m.definition_hash == self._definition_hash)
        return MartSnapshot(table.version(), run, [tuple(sorted(paths[m.tile])) for m in run], self.read)

    def _manifest(self, tile: str, files: list[str]) -> Manifest:
        found = [manifest for path in files for manifest in self._manifests(path)]
        if len(found) != 1 or found[0].tile != tile:
            told = ", ".join(manifest.tile for manifest in found) or "none"
            raise MartDamaged(
                f"tile {tile} of {self.uri} has manifests of {told} instead of its own; rebuild the mart from raw"
            )
        return found[0]

    def _manifests(self, path: str) -> tuple[Manifest, ...]:
        with self._damaged(path):
            return _manifests_of(self._settings, self.uri, path)

    def _read(self, path: str, columns: list[str] | None) -> pa.Table:
        with self._damaged(path):
            return read_file(self._settings, self.uri, path, columns)

    @contextmanager
    def _damaged(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise MartDamaged(f"{self.uri}/{path} cannot be read ({error}); rebuild the mart from raw") from error


def mart_uri(settings: Settings, domain: str, view: str, definition_hash: str) -> str:
    """Where the mart of a view, as defined, is; the bad records' is quarantine/<domain>/<definition hash>."""
    if view == QUARANTINE:
        return settings.table_uri("quarantine", domain, definition_hash)
    return settings.table_uri("marts", domain, view, definition_hash)


def read_tiles(settings: Settings, uri: str) -> list[Manifest]:
    """Every tile's manifest in the newest version, in no order; none where nothing was built."""
    table = open_table(settings, uri)
    return manifests(table, settings, uri) if table else []


def built_tiles(settings: Settings, domain: str, view: str, definition_hash: str) -> list[Manifest]:
    """The tiles of a view, as defined, from the beginning up to the frontier, as they are in the lake now."""
    tiles = read_tiles(settings, mart_uri(settings, domain, view, definition_hash))
    return unbroken(tile for tile in tiles if tile.definition_hash == definition_hash)


def tiles_by_view(settings: Settings, domain: str, kernel: Kernel, views: Iterable[str]) -> dict[str, list[Manifest]]:
    """The same for each of these views, as `kernel` defines them."""
    return {view: built_tiles(settings, domain, view, kernel.definition_hash(view)) for view in views}


def announced_before(t: datetime, runs: Iterable[Sequence[Manifest]]) -> dict[int, dict[str, int]]:
    """Of each partition, the dimensions' highest versions announced before `t`, as any tile up to there knows them.

    A view that uses no dimension may have tiles from before the domain declared one, which know none.
    """
    highest: dict[int, dict[str, int]] = {}
    for tile in (tile for run in runs for tile in run if tile.t1 <= t):
        for partition, versions in tile.announced.items():
            known = highest.setdefault(partition, {})
            for name, version in versions.items():
                known[name] = max(version, known.get(name, 0))
    return highest


def manifests(table: DeltaTable, settings: Settings, uri: str, tiles: Collection[str] | None = None) -> list[Manifest]:
    """The same in this version; with `tiles`, of those of these names."""
    found: list[Manifest] = []
    for file in data_files(table):
        if tiles is None or file[f"partition.{TILE}"] in tiles:
            found += _manifests_of(settings, uri, file["path"])
    return found


@lru_cache(maxsize=10_000)
def _manifests_of(settings: Settings, uri: str, path: str) -> tuple[Manifest, ...]:
    """Those in one data file; it never changes, so it is read once: a build asks for all tiles several times."""
    rows = read_file(settings, uri, path, [MANIFEST])
    return tuple(Manifest.model_validate_json(m) for m in rows[MANIFEST].drop_null().to_pylist())
