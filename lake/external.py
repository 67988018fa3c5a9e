"""External data: files that people bring, kept in the lake as versions and joined with views in SQL.

Invariant: a version is a Delta table of its own, external/<name>/<version>, written once in one commit and never
changed; two that are added at once get two numbers.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from pyarrow import fs

from lake.cuts import format_time
from lake.errors import BadExternal, lake_away
from lake.expressions import nearest
from lake.settings import Settings
from lake.tables import data_files, filesystem, open_table, read_file

_READERS = {
    ".csv": "read_csv($path, header = true)",
    ".tsv": "read_csv($path, header = true, delim = '\t')",
    ".parquet": "read_parquet($path)",
    ".json": "read_json($path)",
    ".jsonl": "read_json($path, format = 'newline_delimited')",
    ".ndjson": "read_json($path, format = 'newline_delimited')",
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# What Parquet and Spark refuse in the name of a column.
_BAD_IN_COLUMN = re.compile(r"[ ,;{}()\n\t=]")
_ATTEMPTS = 20


@dataclass(frozen=True)
class ExternalVersion:
    """One version of one file that was brought in."""

    name: str
    version: int
    source: str
    added: str
    rows: int
    columns: dict[str, str]


class External:
    """All external data of a lake."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def add(self, name: str, source: str) -> ExternalVersion:
        """Keep what `source` holds now, a file or s3://bucket/key, as a new version. Raises BadExternal."""
        if not _NAME.fullmatch(name):
            raise BadExternal(
                f"'{name}' is no name for external data: lower-case letters, digits and _, a letter first, at most 63"
            )
        suffix = Path(source).suffix.lower()
        if suffix not in _READERS:
            raise BadExternal(f"'{source}' ends with '{suffix}'; allowed: {', '.join(_READERS)}")
        with tempfile.TemporaryDirectory() as folder:
            rows = _read(str(self._local(source, Path(folder) / f"external{suffix}")), suffix, source)
        described = {"source": source, "added": format_time(datetime.now(UTC)), "rows": len(rows)}
        return self._write(name, rows, described)

    def names(self) -> dict[str, list[int]]:
        """Every name, with its versions in ascending order."""
        folder = f"{self._settings.bucket}/external"
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        found: dict[str, set[int]] = {}
        try:
            infos = filesystem(self._settings).get_file_info(selector)
        except OSError as error:
            raise BadExternal(lake_away(self._settings.s3_endpoint, error)) from error
        for info in infos:
            match info.path.removeprefix(f"{folder}/").split("/"):
                # Only a committed version has this; the files of one that was begun and given up do not count.
                case [name, version, "_delta_log", "00000000000000000000.json"]:
                    found.setdefault(name, set()).add(int(version))
        return {name: sorted(versions) for name, versions in sorted(found.items())}

    def versions(self) -> list[ExternalVersion]:
        """Every version of everything, oldest first under each name."""
        return [self._described(name, v) for name, versions in self.names().items() for v in versions]

    def table(self, name: str, version: int | None = None) -> pa.Table:
        """The rows of a version (None: the newest). Raises BadExternal if there is none."""
        known = self.names()
        if name not in known:
            raise BadExternal(f"there is no external data '{name}'; {_known(name, known)}")
        if version is not None and version not in known[name]:
            raise BadExternal(f"external data '{name}' has no version {version}; known: {known[name]}")
        table, uri = self._open(name, version or known[name][-1])
        return pa.concat_tables([read_file(self._settings, uri, file["path"], None) for file in data_files(table)])

    def _local(self, source: str, copy: Path) -> Path:
        """A path of this machine with the bytes of `source`."""
        scheme, found, address = source.partition("://")
        if not found:
            if not Path(source).is_file():
                raise BadExternal(f"'{source}' is no file here; give a path, or s3://bucket/key for one in the lake")
            return Path(source)
        if scheme != "s3":
            raise BadExternal(f"'{source}' is neither a file here nor in the lake (s3://bucket/key); download it first")
        try:
            with filesystem(self._settings).open_input_stream(address) as stream, copy.open("wb") as file:
                while piece := stream.read(1 << 20):
                    file.write(piece)
        except OSError as error:
            raise BadExternal(f"'{source}' cannot be read from {self._settings.s3_endpoint}: {error}") from error
        return copy

    def _write(self, name: str, rows: pa.Table, described: dict) -> ExternalVersion:
        for _ in range(_ATTEMPTS):
            version = max(self.names().get(name, [0])) + 1
            try:
                write_deltalake(
                    self._uri(name, version),
                    rows,
                    mode="error",
                    description=json.dumps(described),
                    # Without a retry one of two that create the table at once fails; with one it would append to it.
                    commit_properties=CommitProperties(max_commit_retries=0),
                    storage_options=self._settings.storage_options(),
                )
            except DeltaError as error:
                if open_table(self._settings, self._uri(name, version)) is None:
                    raise BadExternal(f"external data '{name}' could not be written: {error}") from error
                continue  # somebody else took this number
            return self._described(name, version)
        raise BadExternal(f"external data '{name}': {_ATTEMPTS} others were added meanwhile; try again")

    def _described(self, name: str, version: int) -> ExternalVersion:
        table, _ = self._open(name, version)
        columns = {field.name: str(field.type) for field in pa.schema(table.schema().to_arrow())}
        return ExternalVersion(name, version, columns=columns, **json.loads(table.metadata().description or "{}"))

    def _open(self, name: str, version: int) -> tuple[DeltaTable, str]:
        uri = self._uri(name, version)
        table = open_table(self._settings, uri)
        if table is None:
            raise BadExternal(
                f"{uri} is gone from the lake; restore it from the bucket's versions, or add the file again"
            )
        return table, uri

    def _uri(self, name: str, version: int) -> str:
        return self._settings.table_uri("external", name, str(version))


def _known(name: str, known: dict[str, list[int]]) -> str:
    return nearest(name, known) if known else "nothing was added yet (`tidemark external add NAME FILE`)"


def _read(path: str, suffix: str, source: str) -> pa.Table:
    """A file's rows, in types that Delta has. Raises BadExternal."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        try:
            # A table function's argument must be a constant, and a path may hold anything.
            reader = _READERS[suffix].replace("$path", "'" + path.replace("'", "''") + "'")
            db.execute(f"CREATE TABLE arrived AS SELECT * FROM {reader}")
            found = db.sql("FROM arrived")
            _check(found.columns, db.execute("SELECT 1 FROM arrived LIMIT 1").fetchall() != [], source)
            kinds = zip(found.columns, map(str, found.types), strict=True)
            columns = [f'{_storable(name, kind)} AS "{name}"' for name, kind in kinds]
            return db.sql(f"SELECT {', '.join(columns)} FROM arrived").to_arrow_table()
        except duckdb.Error as error:
            first, _, _ = str(error).partition("\n\n")
            raise BadExternal(f"'{source}' cannot be read as {suffix[1:]}: {first}") from None


def _check(columns: Sequence[str], has_rows: bool, source: str) -> None:
    if not has_rows:
        raise BadExternal(f"'{source}' has no rows; nothing was added")
    for name in columns:
        if not name.strip() or '"' in name or _BAD_IN_COLUMN.search(name):
            better = re.sub(r"\W+", "_", name).strip("_").lower() or "column_1"
            raise BadExternal(f"'{source}' has a column '{name}', which a table cannot have; rename it '{better}'")


def _storable(name: str, kind: str) -> str:
    """The column, cast where Delta has no such type; times carry UTC."""
    column = f'"{name}"'
    if kind in ("UTINYINT", "USMALLINT", "UINTEGER"):
        return f"{column}::BIGINT"
    if kind in ("UBIGINT", "HUGEINT", "UHUGEINT"):
        return f"{column}::DECIMAL(38, 0)"
    if kind.startswith("TIMESTAMP"):
        return f"{column}::TIMESTAMPTZ"
    if kind.startswith(("TIME", "INTERVAL", "UUID", "ENUM", "BIT", "JSON")) or kind == '"NULL"':
        return f"{column}::VARCHAR"
    return column
