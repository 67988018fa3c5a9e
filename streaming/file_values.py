"""Files of records as the values of events: lines as they are, rows of CSV and Parquet in the domain's format.

Invariant: the same bytes give the same values in the same order, so the n-th value of a file is one for ever; whatever
a file holds, no more than about one value is in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import fs

from lake.domain import Domain
from lake.errors import TidemarkError
from lake.expressions import nearest
from lake.formats import Csv, Json
from lake.log import MAX_VALUE_BYTES
from lake.settings import Settings
from lake.tables import filesystem
from streaming.row_encoder import row_encoder

KINDS = ("jsonl", "csv", "parquet", "lines")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".csv": "csv"}
_ENDINGS |= {".tsv": "csv"}
_BLOCK_BYTES = 1 << 20
_ROWS_A_BATCH = 5_000


class BadFile(TidemarkError):
    """A file cannot be read as what it is said to be."""


@dataclass(frozen=True)
class Source:
    """A file here, or an object of the lake (s3://bucket/key). `.gz`, `.zst` and the like are unpacked as read."""

    address: str
    system: fs.FileSystem
    path: str

    @classmethod
    def of(cls, settings: Settings, address: str) -> Source:
        """Raises BadFile if there is none."""
        if address.startswith("s3://"):
            source = cls(address, filesystem(settings), address.removeprefix("s3://"))
        else:
            source = cls(address, fs.LocalFileSystem(), str(Path(address).absolute()))
        try:
            found = source.system.get_file_info(source.path).type
        except OSError as error:
            raise BadFile(f"'{address}' cannot be read: {error}") from error
        if found != fs.FileType.File:
            raise BadFile(f"'{address}' is no file; give a path, or s3://bucket/key for one in the lake")
        return source

    def sha256(self) -> str:
        hashed = hashlib.sha256()
        with self.system.open_input_stream(self.path, compression=None) as stream:
            while block := stream.read(_BLOCK_BYTES):
                hashed.update(block)
        return hashed.hexdigest()

    def lines(self) -> Iterator[bytes | None]:
        """Each line with its break; None for one that is too long for an event."""
        longest = MAX_VALUE_BYTES + 2
        with io.BufferedReader(self.system.open_input_stream(self.path), _BLOCK_BYTES) as stream:
            while line := stream.readline(longest):
                if len(line) < longest or line.endswith(b"\n"):
                    yield line
                    continue
                while (rest := stream.readline(longest)) and not rest.endswith(b"\n"):
                    pass
                yield None

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of a Parquet file."""
        with pq.ParquetFile(self.system.open_input_file(self.path)) as file:
            for batch in file.iter_batches(_ROWS_A_BATCH):
                yield from batch.to_pylist()


@dataclass(frozen=True)
class Reading:
    """How a file is read: its kind, and for CSV what stands between the cells."""

    kind: str
    delimiter: str

    @classmethod
    def of(cls, domain: Domain, address: str, kind: str | None = None, delimiter: str | None = None) -> Reading:
        """What is not said is taken from the file's name and the domain's format. Raises BadFile."""
        ending = Path(address.removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst")).suffix.lower()
        own = domain.format
        if kind is None:
            kind = _ENDINGS.get(ending, "lines")
            # Without a header the lines of a file are events already.
            kind = "lines" if kind == "csv" and isinstance(own, Csv) and not own.header else kind
        if kind not in KINDS:
            raise BadFile(f"--format '{kind}' is unknown; {nearest(kind, KINDS)}")
        if kind in ("csv", "parquet") and not isinstance(own, Csv | Json):
            raise BadFile(
                f"'{address}': {kind} has columns, and a record of domain '{domain.name}' is {own.word}; "
                "use --format lines"
            )
        if isinstance(own, Csv):
            delimiter = delimiter or own.delimiter
        delimiter = delimiter or ("\t" if ending == ".tsv" else ",")
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise BadFile(f"--delimiter {delimiter!r} must be one character, no quote and no line break")
        return cls(kind, delimiter)


def values(source: Source, reading: Reading, domain: Domain) -> Iterator[bytes | None]:
    """The values of the events that a file holds, in its order; None for one that is too long to be sent.

    Blank lines are none. What is no row of its file is given as it stands, for quarantine. Raises BadFile.
    """
    encode = row_encoder(domain)
    try:
        if reading.kind == "parquet":
            yield from (encode(row) for row in source.rows())
        elif reading.kind == "csv":
            yield from _csv_values(source, reading.delimiter, domain, encode)
        else:
            yield from (
                line if line is None else bare for line in source.lines() if line is None or (bare := _bare(line))
            )
    except (OSError, ValueError) as error:
        raise BadFile(f"'{source.address}' cannot be read as {reading.kind}: {error}") from error


def _bare(line: bytes) -> bytes:
    """Without its line break."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _csv_values(
    source: Source, delimiter: str, domain: Domain, encode: Callable[[dict[str, Any]], bytes]
) -> Iterator[bytes | None]:
    records = _csv_records(source.lines())
    header = next(records, None)
    names = _cells(_bare(header), delimiter) if header else None
    if not names:
        raise BadFile(f"'{source.address}' has no header line, the columns' names; use --format lines if it has none")
    wanted = (
        domain.format.columns if isinstance(domain.format, Csv) else [n for n, f in domain.fields.items() if f.required]
    )
    if lost := next((name for name in wanted if name not in names), None):
        raise BadFile(f"'{source.address}' has no column '{lost}' in its header; {nearest(lost, names)}")
    as_it_is = isinstance(domain.format, Csv) and (names, delimiter) == ([*wanted], domain.format.delimiter)
    for record in records:
        bare = record and _bare(record)
        if not bare or as_it_is:
            if bare or record is None:
                yield bare
            continue
        cells = _cells(bare, delimiter)
        yield bare if cells is None or len(cells) != len(names) else encode(dict(zip(names, cells, strict=True)))


def _csv_records(lines: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """Lines, those joined that a quoted cell spans. A quote that is never closed costs its own line only."""
    ahead: deque[bytes | None] = deque()
    while (line := ahead.popleft() if ahead else next(lines, b"")) != b"":
        taken: list[bytes | None] = []
        size, quotes = len(line or b""), (line or b"").count(b'"')
        while quotes % 2 and size <= MAX_VALUE_BYTES:
            more = ahead.popleft() if ahead else next(lines, b"")
            if not more:
                taken += [more] if more is None else []
                break
            taken.append(more)
            size, quotes = size + len(more), quotes + more.count(b'"')
        if line is None or quotes % 2 or size > MAX_VALUE_BYTES:
            ahead.extendleft(reversed(taken))
            yield line
        else:
            yield b"".join([line, *(part for part in taken if part)])


def _cells(record: bytes, delimiter: str) -> list[str] | None:
    """The cells of one CSV record; None where it is none."""
    try:
        [cells] = csv.reader([record.decode()], delimiter=delimiter, strict=True)
        return cells
    except (ValueError, csv.Error):
        return None
