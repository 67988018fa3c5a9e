"""Delta tables of the lake: opened at a pinned version by delta-rs, their immutable Parquet files read by Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyarrow import fs

from lake.settings import Settings


def open_table(settings: Settings, uri: str, version: int | None = None) -> DeltaTable | None:
    """The table at `version` (None: the newest), or None if there is no table."""
    try:
        return DeltaTable(uri, version=version, storage_options=settings.storage_options())
    except TableNotFoundError:
        return None


class FollowedTable:
    """A table that is looked at again and again: to open one reads its log, to bring it up to date only what is new."""

    def __init__(self, settings: Settings, uri: str) -> None:
        self._settings, self._uri = settings, uri
        self._table: DeltaTable | None = None

    def now(self) -> DeltaTable | None:
        """Its newest version, always the same object; None if there is no table."""
        if self._table is None:
            self._table = open_table(self._settings, self._uri)
        else:
            self._table.update_incremental()
        return self._table


def data_files(table: DeltaTable) -> list[dict]:
    """One dict a data file of this version: path, num_records, partition.*, min.* and max.* of each column."""
    return pa.table(table.get_add_actions(flatten=True)).to_pylist()


def fetch_file(settings: Settings, uri: str, path: str) -> pa.Buffer:
    """The bytes of one data file. Raises OSError if it is gone."""
    with filesystem(settings).open_input_file(_address(uri, path)) as file:
        return file.read_buffer()


def read_file(
    settings: Settings, uri: str, path: str, columns: list[str] | None, body: pa.Buffer | None = None
) -> pa.Table:
    """Some columns (None: all) of one data file, or of its `body` where that was fetched before.

    Raises OSError if it is gone, pa.ArrowInvalid if it is no Parquet.
    """
    return _open_file(settings, uri, path, body).read(columns)


def stream_file(
    settings: Settings,
    uri: str,
    path: str,
    columns: list[str],
    max_rows: int,
    max_bytes: int,
    wanted: Callable[[pq.RowGroupMetaData], bool] = lambda group: True,
    body: pa.Buffer | None = None,
) -> Iterator[pa.Table]:
    """The same in tables of at most `max_rows` rows and, on average, `max_bytes` bytes; of `wanted` row groups only."""
    file = _open_file(settings, uri, path, body)
    groups = {i: group for i in range(file.num_row_groups) if wanted(group := file.metadata.row_group(i))}
    bytes_per_row = sum(g.total_byte_size for g in groups.values()) / max(1, sum(g.num_rows for g in groups.values()))
    rows = max(1, min(max_rows, int(max_bytes / max(1.0, bytes_per_row))))
    for batch in file.iter_batches(rows, row_groups=list(groups), columns=columns):
        yield pa.Table.from_batches([batch])


def _open_file(settings: Settings, uri: str, path: str, body: pa.Buffer | None) -> pq.ParquetFile:
    if body is not None:
        return pq.ParquetFile(pa.BufferReader(body))
    return pq.ParquetFile(_address(uri, path), filesystem=filesystem(settings))


def _address(uri: str, path: str) -> str:
    # The log holds paths as URLs: a colon in a partition's value is %3A there.
    return f"{uri}/{unquote(path)}".removeprefix("s3://")


def write_file(settings: Settings, uri: str, path: str, rows: pa.Table) -> int:
    """Write a data file that no commit names yet; its bytes."""
    address, lake = f"{uri}/{path}".removeprefix("s3://"), filesystem(settings)
    pq.write_table(rows, address, filesystem=lake, compression="zstd")
    return lake.get_file_info(address).size


@lru_cache(maxsize=8)  # a new one would connect anew for each file
def filesystem(settings: Settings) -> fs.FileSystem:
    """The lake's bucket for Arrow; paths are bucket/key. Safe to share between threads."""
    scheme, _, endpoint = settings.s3_endpoint.partition("://")
    return fs.S3FileSystem(
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        endpoint_override=endpoint,
        scheme=scheme,
        region=settings.s3_region,
        force_virtual_addressing=not settings.s3_path_style,
        tls_ca_file_path=settings.ca_bundle(),
    )
