"""Beam's Prism runner: one process on this machine, whose worker is the speed job itself.

Invariant: the binary is the one that set-up has built; there is no search, no download and no other runner instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import BadSettings
from streaming.child import child, free_port


@contextmanager
def prism(binary: Path | None) -> Iterator[list[str]]:
    """A running Prism: the pipeline options that choose it. Call from the main thread: Prism dies with the caller's."""
    if binary is None or not os.access(binary, os.X_OK):
        raise BadSettings(
            f"TIDEMARK_PRISM_BINARY={binary}: expected the Prism runner, an executable file; `make setup` builds it"
        )
    port = free_port()
    with child("Prism", [str(binary), "--job_port", str(port), "--serve_http=false", "--log_level=warn"], port):
        yield ["--runner=PrismRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
