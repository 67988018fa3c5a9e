"""DAGs run by `dag.test()` in a process of their own, one after another (`run_dag.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from tests.faults.parts import ROOT


def run_dags(
    runs: Mapping[str, dict], environment: Mapping[str, str]
) -> tuple[dict[str, dict], subprocess.CompletedProcess[str]]:
    """What came of each run, by its name in `runs`, and the process that they were in, which has to end well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.dags.run_dag", *map(json.dumps, runs.values())],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return dict(zip(runs, json.loads(done.stdout.splitlines()[-1]), strict=True)), done
