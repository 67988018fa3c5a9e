"""Thirty past slices backfilled by Airflow's command line: `make backfill`, up to half an hour, so not among the tests.

The same records in a second domain, built one slice after the other, say what there must be.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from lake.cuts import format_time
from lake.kernel import Kernel
from lake.seal import seal
from local.stack import Stack
from tests.conftest import Sandbox
from tests.dags.past import (
    DAG,
    HOUR,
    airflow_api,
    airflow_of,
    backfill_runs,
    check_tiles,
    land_past,
    last_ends,
    mart,
    one_view,
    schedule,
    send_again,
    slices,
    views_of,
)
from tests.faults.parts import Worker, run, wait_for

HOURS = int(os.environ.get("BACKFILL_HOURS", "30"))
AGAIN = 3


def test_thirty_slices_backfilled_are_the_table_of_thirty_built_in_time_order(
    make_sandbox, stack, tools, tmp_path, airflow_environment, capsys
) -> None:
    ends, file = last_ends(HOURS), one_view(tmp_path)
    backfilled, reference = (make_sandbox(base=file, partitions=2) for _ in range(2))
    landers = []
    try:
        for name, sandbox in (("backfilled", backfilled), ("reference", reference)):
            send_again(sandbox, land_past(sandbox, ends, events=100))
            landers.append(Worker("streaming.land", sandbox.domain.name, sandbox.environment, tmp_path / f"{name}.log"))
            landers[-1].start()
        with airflow_of(backfilled, stack, tools, tmp_path / "airflow", TIDEMARK_SCHEDULE=schedule(ends)) as own:
            forwards = _backfill(own, ends)
            rows = check_tiles(backfilled, ends)
            backwards = _backfill(own, ends[-AGAIN:], "--run-backwards", "--reprocess-behavior", "completed")
            assert check_tiles(backfilled, ends) == rows
        seal(reference.settings, reference.domain, ends[-1])
        calls = [json.dumps({"domain": reference.domain.name, "t1": format_time(t), "dag": False}) for t in ends]
        began = time.monotonic()
        run(reference.environment | airflow_environment, "tests.dags.build_slices", str(tmp_path / "told"), *calls)
        in_order = time.monotonic() - began
    finally:
        for lander in landers:
            lander.kill()
    assert check_tiles(reference, ends) == rows > HOURS
    for view in views_of(backfilled):
        one, other = mart(backfilled, view), mart(reference, view)
        assert slices(one.tiles) == slices(other.tiles)
        assert _canonical(backfilled, view, one.states) == _canonical(reference, view, other.states)
    with capsys.disabled():
        print(
            f"\n{HOURS} slices: backfilled by Airflow in {forwards:.0f} s ({forwards / HOURS:.1f} s each), "
            f"built in one session in {in_order:.0f} s; {rows} rows, all the same. "
            f"{AGAIN} again, backwards: {backwards:.0f} s"
        )


def _canonical(sandbox: Sandbox, view: str, states: Sequence) -> list[list[dict]]:
    kernel = Kernel(sandbox.domain)
    return [kernel.merge(view, [each]).to_pylist() for each in states]


def _backfill(own: Stack, ends: Sequence[datetime], *options: str) -> float:
    """`airflow backfill create` over the slices with these ends, until all its runs have succeeded; in seconds."""
    dates = ["--from-date", format_time(ends[0] - HOUR), "--to-date", format_time(ends[-1] - HOUR)]
    command = ["airflow", "backfill", "create", "--dag-id", DAG, "--max-active-runs", "1", *dates, *options]
    with airflow_api(own) as client:
        asked, began = datetime.now(UTC), time.monotonic()
        done = subprocess.run(command, env=own.environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]

        def ended() -> bool:
            runs = backfill_runs(client)
            states = [run["state"] for run in runs if datetime.fromisoformat(run["queued_at"]) >= asked]
            assert "failed" not in states, states
            return states == ["success"] * len(ends)

        wait_for(ended, f"{len(ends)} runs succeed", 60 * len(ends))
    return time.monotonic() - began
