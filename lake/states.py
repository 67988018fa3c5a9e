"""States as tables: the types they have everywhere, and the bytes that they travel as."""

from __future__ import annotations

import pyarrow as pa

_LARGE_BYTES = 16 << 10


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The types that DuckDB, Arrow, Spark and Delta all hold: times carry UTC, list items have one name."""

    def canonical(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", "UTC")
        if pa.types.is_list(kind):
            return pa.list_(pa.field("element", canonical(kind.value_type)))
        if pa.types.is_struct(kind):
            return pa.struct([pa.field(f.name, canonical(f.type)) for f in kind])
        return kind

    return pa.schema([pa.field(f.name, canonical(f.type)) for f in schema])


def unsliced(states: pa.Table) -> pa.Table:
    """The same rows from the beginning of their arrays: DuckDB refuses a struct from the middle of one."""
    if any(pa.types.is_struct(field.type) for field in states.schema):
        return states.combine_chunks().take(pa.array(range(len(states)), pa.int64()))
    return states


def encode(states: pa.Table) -> bytes:
    """States as an Arrow IPC stream, compressed if large. Transport only: equal states may have unequal bytes."""
    sink = pa.BufferOutputStream()
    # Each column is compressed by itself, which takes twenty times as long as writing a small one does. By zstd they
    # would be half as large and take twice as long.
    options = pa.ipc.IpcWriteOptions(compression="lz4" if states.nbytes >= _LARGE_BYTES else None)
    with pa.ipc.new_stream(sink, states.schema, options=options) as writer:
        writer.write_table(states)
    return sink.getvalue().to_pybytes()


def decode(data: bytes) -> pa.Table:
    """The inverse of `encode`."""
    return pa.ipc.open_stream(data).read_all()
