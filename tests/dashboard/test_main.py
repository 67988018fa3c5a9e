"""The dashboard's process serves its metrics before its first visitor, and whatever is away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from local.ports import Ports
from tests.faults.parts import wait_for

ROOT = Path(__file__).parents[2]


def test_the_metrics_are_there_before_a_visitor(tmp_path: Path) -> None:
    ports = Ports.free()
    options = ["--server.port", str(ports.dashboard), "--server.address", "127.0.0.1", "--server.headless", "true"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboard", *options, "--browser.gatherUsageStats", "false"],
        cwd=ROOT,
        env=os.environ | {"TIDEMARK_HOME": str(tmp_path), "TIDEMARK_METRICS_PORT": str(ports.dashboard_metrics)},
        stdout=subprocess.DEVNULL,
    )

    def text(port: int, path: str) -> str | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/{path}").raise_for_status().text
        except httpx.HTTPError:
            assert process.poll() is None
            return None

    try:
        wait_for(lambda: text(ports.dashboard, "_stcore/health"), "the page's server")
        told = text(ports.dashboard_metrics, "metrics")
        assert told and "# HELP tidemark_answers_total" in told and "process_resident_memory_bytes" in told
    finally:
        process.terminate()
        process.wait(30)
