"""How much memory processes really use: PSS, in which a page shared by n processes counts 1/n in each.

RSS would count Airflow's shared pages once a process, several gigabytes that do not exist.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that descend from it; nothing once it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def pss_bytes(process: psutil.Process) -> int:
    """The PSS of one process; 0 once it has ended."""
    try:
        with Path(f"/proc/{process.pid}/smaps_rollup").open() as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0
