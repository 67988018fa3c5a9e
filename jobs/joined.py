"""A join with a dimension that is too large to send to every task: Spark shuffles both sides on (version, key).

Invariant: the kernel sees the same rows of the dimension as if it had all of it, so its states are the same.
Small dimensions need none of this: each task reads them whole, which is a broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, struct

from jobs.carry import carry_prepared
from jobs.session import s3a_uri
from jobs.task_files import TaskFiles
from lake.dimensions import KEY, VERSION, Dimensions
from lake.domain import Domain
from lake.kernel import Kernel, key_of, version_of
from lake.marks import Marks
from lake.raw_schema import RAW_SCHEMA
from lake.settings import Settings


def large_dimensions(settings: Settings, domain: Domain, marks: Marks) -> list[str]:
    """The dimensions of which some version in use has more rows than a task may hold of it."""
    if marks.timeline is None:
        return []
    dimensions = Dimensions(settings)
    return [
        name
        for name in domain.dimensions
        if any(dimensions.rows(name, v) > settings.broadcast_rows for v in marks.timeline.versions_in_use(name))
    ]


def carry_joined(session: SparkSession, files: TaskFiles, marks: Marks, large: Sequence[str]) -> DataFrame:
    """As `carry.carry_files`; the dimensions in `large` are joined by Spark."""
    settings, domain = files.settings, files.domain
    keyed = _keyed(session, files, marks, large)
    for name in large:
        keyed = keyed.join(_rows(session, settings, domain, name, marks), [version_of(name), key_of(name)], "left")
    prepare = partial(_prepare, domain=domain, marks=marks, large=large)
    return carry_prepared(keyed, settings, domain, prepare)


def _keyed(session: SparkSession, files: TaskFiles, marks: Marks, large: Sequence[str]) -> DataFrame:
    """The records with version and key of each large dimension."""
    schema = RAW_SCHEMA
    for name in files.domain.dimensions:
        schema = schema.append(pa.field(version_of(name), pa.int64()))
    for name in large:
        schema = schema.append(pa.field(key_of(name), pa.string()))
    return files.map(session, partial(_read, domain=files.domain, marks=marks, schema=schema), schema)


def _read(
    settings: Settings, records: Iterator[pa.Table], domain: Domain, marks: Marks, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    kernel = Kernel(domain)
    for rows in records:
        yield from kernel.keyed(marks.with_versions(rows)).select(schema.names).cast(schema).to_batches()


def _rows(session: SparkSession, settings: Settings, domain: Domain, name: str, marks: Marks) -> DataFrame:
    """The rows of the versions in use, as one struct each, under the names of the records' columns."""
    assert marks.timeline is not None
    versions = marks.timeline.versions_in_use(name)
    rows = session.read.format("delta").load(s3a_uri(Dimensions(settings).uri(name)))
    known = [column for column in domain.dimensions[name].columns if column in rows.columns]
    return rows.where(col(VERSION).isin(versions)).select(
        col(VERSION).alias(version_of(name)), col(KEY).alias(key_of(name)), struct(*known).alias(_row_of(name))
    )


def _prepare(kernel: Kernel, rows: pa.Table, domain: Domain, marks: Marks, large: Sequence[str]) -> None:
    """Let the kernel take in joined records: what was joined to them is all it needs of the dimension."""
    for name in large:
        found = rows.filter(pc.is_valid(rows[_row_of(name)]))
        columns = {VERSION: found[version_of(name)], KEY: found[key_of(name)]}
        joined = pa.table(columns | _fields(found[_row_of(name)].combine_chunks()))
        kernel.give_dimension(name, joined.group_by(joined.column_names).aggregate([]))
    marks.parse(kernel, rows.select([*RAW_SCHEMA.names, *map(version_of, domain.dimensions)]))


def _fields(rows: pa.StructArray) -> dict[str, pa.Array]:
    return {field.name: rows.field(field.name) for field in rows.type}


def _row_of(dimension: str) -> str:
    return f"row:{dimension}"
