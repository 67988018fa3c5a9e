"""What is left of a subject in the lake's objects once its records were erased and the tiles built anew.

Invariant: an object that the newest version of a table refers to is never removed, nor one that a lander or builder
may still commit: only files that hold records or states which no commit can bring back, for raw has erased them.
What holds the subject and cannot be removed is a problem, and told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from lake.cuts import Cut
from lake.domain import Domain
from lake.history import in_log, objects_below
from lake.kernel import QUARANTINE
from lake.marts import MANIFEST, TILE, Manifest
from lake.raw import between
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings
from lake.subject import Search
from lake.tables import data_files, filesystem, open_table, read_file, stream_file

_ROWS, _BYTES = 100_000, 16 << 20
# Spark keeps no more of a text in a file's statistics.
_STATISTICS_CHARACTERS = 32


@dataclass(frozen=True)
class Before:
    """How far the erasure reaches: what was appended before `time`, which are the offsets before `cut`."""

    time: datetime
    cut: Cut


@dataclass
class Found:
    """Objects looked at and removed, and what still holds the subject, as sentences."""

    objects: int = 0
    removed: int = 0
    problems: list[str] = field(default_factory=list)


class Residue:
    """Looks for one subject in the objects of a domain's tables.

    `removing`: only in those that the newest version does not refer to, and remove those that hold it; else in all of
    them, and remove nothing: what holds the subject is a problem.
    """

    def __init__(self, settings: Settings, domain: Domain, search: Search, before: Before, removing: bool) -> None:
        self._settings, self._domain, self._search, self._before = settings, domain, search, before
        self._removing = removing
        self.found = Found()

    def look_in_raw(self) -> None:
        """Records before the cut, in files, and whatever the log says of them."""
        uri = self._settings.table_uri("raw", self._domain.name)
        for path, is_current in self._data_files(uri):
            rows = stream_file(self._settings, uri, path, RAW_SCHEMA.names, _ROWS, _BYTES)
            if any(self._holds_records(table) for table in rows):
                self._settle(uri, path, is_current, may_go=True)
        self._look_in_log(uri, [self._search.subject.field, "key", "value", "headers"], set())

    def look_in_mart(self, uri: str, view: str, domain: Domain) -> None:
        """States of tiles that end at or before the time, in the files of a mart, and the log's statistics.

        `domain`: the version of the domain that has the view as it is in this mart.
        """
        table = open_table(self._settings, uri)
        tiles = {} if table is None else {f["path"]: f[f"partition.{TILE}"] for f in data_files(table)}
        ends = _ends(self._settings, uri, table, tiles)
        columns = [] if view == QUARANTINE else self._search.subject.columns_made_from(domain.views[view])
        for path, is_current in self._data_files(uri):
            rows = read_file(self._settings, uri, path, None)
            # Of a tile that has several files one has the manifest; a tile that was committed since has one file.
            end = ends.get(tiles.get(path, "")) or _end(rows)
            concerned = view == QUARANTINE or end is None or end <= self._before.time
            if concerned and self._holds_states(rows, view, domain, columns):
                self._settle(uri, path, is_current, may_go=end is not None or view == QUARANTINE)
        after = {tile for tile, end in ends.items() if end > self._before.time}
        self._look_in_log(uri, columns, {_name(path) for path, tile in tiles.items() if tile in after})

    def _holds_records(self, rows: pa.Table) -> bool:
        own = self._search.among(between(rows.cast(RAW_SCHEMA), {}, self._before.cut))["own"]
        return bool(pc.any(own).as_py())

    def _holds_states(self, rows: pa.Table, view: str, domain: Domain, columns: list[str]) -> bool:
        if view == QUARANTINE:
            records = rows.filter(pc.is_null(rows[MANIFEST]))
            headers = pa.nulls(len(records), RAW_SCHEMA.field("headers").type)
            return self._holds_records(records.append_column("headers", headers).select(RAW_SCHEMA.names))
        if not columns:
            return False
        value = self._search.typed(domain.fields[self._search.subject.field])
        leaves = (leaf for name in columns for leaf in _leaves(rows[name].combine_chunks()))
        return any(pc.any(pc.equal(leaf, value)).as_py() for leaf in leaves if leaf.type == value.type)

    def _look_in_log(self, uri: str, columns: list[str], later: set[str]) -> None:
        """The Delta log's own files, which hold the least and the greatest value of columns in each data file.

        `later`: the names of those that may hold the subject, which came back.
        """
        if self._removing:
            return
        told = in_statistics(self._search.subject.value, columns)
        for info in objects_below(self._settings, uri):
            if in_log(info):
                self.found.objects += 1
                entries = self._entries(info.path) if columns else []
                if any(told.search(_written(_without(json.loads(e), later))) for e in entries if told.search(e)):
                    self.found.problems.append(f"{info.path} still says in statistics that the subject was there")

    def _entries(self, path: str) -> list[bytes]:
        """What a file of a log holds, each as JSON."""
        with filesystem(self._settings).open_input_file(path) as file:
            if path.endswith(".parquet"):
                return [_written(row) for row in pq.read_table(file).to_pylist()]
            return file.read().splitlines()

    def _settle(self, uri: str, path: str, is_current: bool, may_go: bool) -> None:
        """A file that holds the subject: remove it if it may go, and if that is what this is for."""
        if is_current:
            self.found.problems.append(f"{uri}/{path} holds the subject")
        elif self._removing and may_go:
            filesystem(self._settings).delete_file(f"{uri}/{unquote(path)}".removeprefix("s3://"))
            self.found.removed += 1
        elif not self._removing:
            self.found.problems.append(
                f"{uri}/{path} holds the subject, and no version refers to it: a build has left it behind, or is about "
                "to commit it; `python -m jobs.expire` removes it when it is old enough"
            )

    def _data_files(self, uri: str) -> Iterator[tuple[str, bool]]:
        """The data files to look at, as the log would name them, and whether the newest version refers to them.

        Listed before that version is read: a file that is committed in between is not taken for one that nobody needs.
        """
        infos = [info for info in objects_below(self._settings, uri) if not in_log(info)]
        table = open_table(self._settings, uri)
        current = {unquote(f["path"]): f["path"] for f in data_files(table)} if table else {}
        for info in infos:
            path = info.path.removeprefix(f"{uri}/".removeprefix("s3://"))
            if path not in current or not self._removing:
                self.found.objects += 1
                yield current.get(path, quote(path)), path in current


def _ends(settings: Settings, uri: str, table: DeltaTable | None, tiles: Mapping[str, str]) -> dict[str, datetime]:
    """The end of each tile of this version, by its name."""
    found = {}
    for path, tile in tiles.items():
        if (end := _end(read_file(settings, uri, path, [MANIFEST]))) is not None:
            found[tile] = end
    return found


def _end(rows: pa.Table) -> datetime | None:
    """Where the tile ends whose manifest is in the file; None if it is in another file."""
    told = rows[MANIFEST].drop_null().to_pylist()
    return Manifest.model_validate_json(told[0]).t1 if told else None


def _name(path: str) -> str:
    """A data file's name, without the folders that are spelled in several ways."""
    return path.rsplit("/", 1)[-1]


def _without(told: object, names: set[str]) -> object:
    """What an entry says, but of the data files of these names."""
    if isinstance(told, dict):
        if _name(str(told.get("path", ""))) in names:
            return None
        return {key: _without(value, names) for key, value in told.items()}
    return [_without(value, names) for value in told] if isinstance(told, list) else told


def _written(told: object) -> bytes:
    return json.dumps(told, default=str, ensure_ascii=False).encode()


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The plain columns inside a column."""
    kind = column.type
    if pa.types.is_struct(kind):
        for inner in column.flatten():
            yield from _leaves(inner)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(pc.list_flatten(column))
    elif pa.types.is_map(kind):
        yield from _leaves(column.keys)
        yield from _leaves(column.items)
    else:
        yield column


def in_statistics(value: str, columns: list[str]) -> re.Pattern[bytes]:
    """`"column":"value"` as the log has it, where JSON stands in JSON; of a long value, its beginning."""
    quotes = {character: rf"\\*{re.escape(character)}" for character in '"\\'}
    start = value[:_STATISTICS_CHARACTERS]
    spelled = "".join(quotes.get(character, re.escape(character)) for character in start)
    end = r"(?![0-9A-Za-z_])" if start == value else ""
    names = "|".join(map(re.escape, columns))
    return re.compile(rf'\\*"(?:{names})\\*":\s*\\*"?{spelled}{end}'.encode())
