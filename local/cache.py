"""A cache of built tools, shared by every checkout of this user.

An entry is complete or absent: it is built beside its place under a lock and renamed into it, so
neither a killed build nor two set-ups at once leave half a tool behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from local.errors import DiskFull

MIN_FREE_GIB = 3


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/tidemark`, by default `~/.cache/tidemark`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemark"


def entry(name: str, build: Callable[[Path], None]) -> Path:
    """The directory of entry `name`; `build` fills an empty directory if it is not there yet.

    What `build` raises is passed on, and nothing is kept of that attempt.
    """
    target = cache_dir() / name
    if target.is_dir():
        return target
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        require_free_disk(cache_dir(), "set XDG_CACHE_HOME to a directory on a larger disk")
        building = cache_dir() / f".{name}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            build(building)
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return target


def free_gib(path: Path) -> float:
    """What is free on the disk that holds `path`, or that will hold it once it exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / 2**30


def require_free_disk(path: Path, fix: str) -> None:
    """Raise DiskFull unless MIN_FREE_GIB are free where `path` is."""
    free = free_gib(path)
    if free < MIN_FREE_GIB:
        raise DiskFull(
            f"{free:.1f} GiB are free on the disk of {path}, at least {MIN_FREE_GIB} GiB are needed: "
            f"free some space, or {fix}"
        )
