"""What runs the speed layer's pipeline: Prism on one machine, or Flink, by one setting.

Invariant: the pipeline is the same on each, and so are its answers; a runner that cannot start is an error.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from lake.errors import BadSettings
from lake.settings import Settings
from streaming.flink import LOCAL, flink
from streaming.prism import prism

BUNDLE_SECONDS = {"prism": 1.0, "flink": 60.0}
"""After so long a reader hands the rest back to its runner, which starts it again at once: Prism does so within a
millisecond; Flink looks for it now and then, and remembers each time for as long as the job runs (beam#27648)."""


def environments(settings: Settings, workers: int) -> int:
    """Over how many of Beam's environments, a worker each, groups have to be spread; a cluster spreads them itself."""
    return workers if settings.runner == "flink" and settings.flink_master == LOCAL else 1


def started(settings: Settings, name: str, workers: int, folder: Path) -> AbstractContextManager[list[str]]:
    """The runner that the settings name: the pipeline options that choose it, for as long as it runs.

    `name` is the job's. The runner writes to `folder`, where its workers keep what they count, if they are processes of
    their own. Raises BadSettings where something of it is missing, or it has no `workers` processes to offer.
    """
    if settings.runner == "flink":
        return flink(settings, name, workers, folder)
    if workers > 1:
        raise BadSettings(
            f"--workers {workers}: Prism has one, the speed job itself; --runner flink spreads groups over more"
        )
    return prism(settings.prism_binary)
