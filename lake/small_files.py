"""Many small files read about as fast as a few large ones: fetched ahead by threads, and their tables joined.

A small file costs the waits for its requests, not its bytes, and then the fixed part of whatever is done with a table.
Invariant: files come in the order in which they were given, and what was met in fetching one is raised where it is
read. At most FILES of them are held, each of less than SMALL_BYTES; a larger one is left to be streamed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from lake.raw_file import RawFile

FILES = 16
"""As many threads."""
SMALL_BYTES = 1 << 20


def fetched_ahead(files: Iterable[RawFile], fetch: Callable[[RawFile], pa.Buffer]) -> Iterator[RawFile]:
    """The same files, the small ones with their `body`: `fetch` gives it, in a thread, before they are asked for.

    `files` is gone through up to FILES ahead. What still runs is waited for when the iterator is closed.
    """
    ahead: deque[RawFile] = deque()
    with ThreadPoolExecutor(FILES, thread_name_prefix="fetch") as pool:
        try:
            for file in files:
                ahead.append(file.with_body(pool.submit(fetch, file)) if file.bytes < SMALL_BYTES else file)
                if len(ahead) == FILES:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for file in ahead:  # nobody will ask for them
                if file.body is not None:
                    file.body.cancel()


def joined(tables: Iterable[pa.Table], most_rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """The same rows in tables that have about so many rows or bytes, but for the last."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        waiting.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= most_rows or size >= most_bytes:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)
