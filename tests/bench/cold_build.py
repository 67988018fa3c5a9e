"""A build as Airflow starts it: a new process with a new session, timed from outside, phase by phase.

As a program, `python -m tests.bench.cold_build FLAGS --domain ...`, it is `jobs.build_mart` in a JVM with these flags.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.bench.process_tree import Peak

# What the job says on stderr as each phase ends.
_ENDS = {"python": "starting Spark", "session": "reading [", "compute": " events: "}


@dataclass(frozen=True)
class Cold:
    """Wall and CPU seconds of one build, its largest memory, and the wall seconds of its phases."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    phases: dict[str, float]


def cold_build(
    environment: Mapping[str, str], domain: str, t1: str, views: str | None = None, flags: str | None = None
) -> Cold:
    """Build the slice from the frontier to t1 in a new process; `flags` of its JVM, None for those that we ship."""
    program = ["jobs.build_mart"] if flags is None else ["tests.bench.cold_build", flags]
    told = ["--domain", domain, "--t1", t1, "--json", *(["--views", views] if views else [])]
    began = time.perf_counter()
    ends = {"": 0.0}
    said = []
    process = subprocess.Popen(
        [sys.executable, "-m", *program, *told],
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Peak(process.pid) as peak:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            for phase, sign in _ENDS.items():
                if sign in line and phase not in ends:
                    ends[phase] = time.perf_counter() - began
        code = process.wait()
        ends["commit"] = time.perf_counter() - began
    if code:
        raise RuntimeError(f"the build of {domain} ended with {code}:\n{''.join(said)}")
    phases = {name: end - before for (_, before), (name, end) in pairwise(ends.items())}
    return Cold(ends["commit"], peak.cpu, peak.pss, phases)


def main() -> None:
    from jobs import build_mart, session

    session.JVM_OPTIONS = sys.argv.pop(1)
    build_mart.main()


if __name__ == "__main__":
    main()
