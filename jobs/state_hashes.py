"""Hashes of the states that a mart's tile holds: enough to tell in how many rows two tiles differ.

Invariant: equal states have equal hashes, whatever files they are in and in whatever order; a row takes eight bytes.
"""

from __future__ import annotations

import hashlib

import duckdb
import numpy as np
import pyarrow as pa

from jobs.session import BYTES_PER_BATCH, ROWS_PER_BATCH
from lake.marts import MANIFEST, TILE
from lake.settings import Settings
from lake.tables import data_files, open_table, stream_file


def hash_tile(settings: Settings, uri: str, tile: str, schema: pa.Schema) -> np.ndarray:
    """The hash of each row of states (`schema`) in the tile of that name, ascending; none where there is no tile."""
    table = open_table(settings, uri)
    files = [file["path"] for file in data_files(table) if file[f"partition.{TILE}"] == tile] if table else []
    columns = [MANIFEST, *schema.names]
    hashes = [np.zeros(0, np.uint64)]
    for path in files:
        for rows in stream_file(settings, uri, path, columns, ROWS_PER_BATCH, BYTES_PER_BATCH):
            states = rows.filter(rows[MANIFEST].is_null()).select(schema.names).cast(schema)
            hashes.append(hash_rows(states))
    return np.sort(np.concatenate(hashes))


def hash_rows(states: pa.Table) -> np.ndarray:
    """The hash of each row, in order."""
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("states", states)
        columns = ", ".join(f'"{name}"' for name in states.column_names)
        hashed = db.sql(f"SELECT md5_number_lower(row({columns})::VARCHAR) AS hash FROM states").to_arrow_table()
    return hashed["hash"].to_numpy()


def differing(one: np.ndarray, other: np.ndarray) -> int:
    """How many rows of one have no equal in the other, or the other way round, whichever is more."""
    values, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    left = np.bincount(places[: len(one)], minlength=len(values))
    right = np.bincount(places[len(one) :], minlength=len(values))
    return int(max(np.maximum(left - right, 0).sum(), np.maximum(right - left, 0).sum()))


def digest(hashes: np.ndarray) -> str:
    """16 hex digits that name these states."""
    return hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()[:16]
