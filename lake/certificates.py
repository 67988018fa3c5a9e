"""The certificates that clients believe instead of the system's: those of a file, or of a folder's files, as one file.

Invariant: the settings keep the path that they were given, which means the same in each process that mounts it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from lake.errors import BadSettings


@cache
def bundle(source: Path) -> Path:
    """The file itself, or a file of this process's with all *.crt of a folder. Raises BadSettings if there is none."""
    if source.is_file():
        return source
    files = sorted(source.glob("*.crt"))
    if not files:
        raise BadSettings(
            f"TIDEMARK_CA_FILE={source}: no such file; expected certificates, PEM, or a folder with some in *.crt"
        )
    whole = temporary_folder() / "ca.crt"
    whole.write_text("\n".join(path.read_text() for path in files))
    return whole


def temporary_folder() -> Path:
    """A folder that only this user reads, and that goes as this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
