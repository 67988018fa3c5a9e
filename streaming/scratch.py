"""A directory for what a runner writes while it runs: only its owner can read it, and nobody misses it.

Invariant: a directory whose owner was killed is removed by the next one that is made, so kills do not fill the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "owner.lock"


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty directory of mode 700 under the system's temporary one, for as long as the context lasts."""
    _remove_abandoned(name)
    folder = Path(tempfile.mkdtemp(prefix=f"tidemark-{name}-"))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until this process is gone, however it ends
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(name: str) -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"tidemark-{name}-*/{_LOCK}"):
        with contextlib.suppress(OSError):  # another user's, in use, or somebody else is removing it
            with lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
