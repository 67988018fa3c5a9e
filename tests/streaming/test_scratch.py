"""A runner's directory is private, and does not stay."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from streaming.scratch import scratch

OWNER = "from streaming.scratch import scratch\nwith scratch('test') as folder: print(folder, flush=True), input()"


def test_what_a_killed_owner_left_is_removed_by_the_next_and_what_is_in_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with owner:
        left = Path(owner.stdout.readline().strip())
        assert left.parent == tmp_path and stat.S_IMODE(left.stat().st_mode) == 0o700
        with scratch("test") as ours:
            assert left.is_dir()
            owner.kill()
            owner.wait()
            with scratch("test"):
                assert ours.is_dir() and not left.exists()
    assert list(tmp_path.iterdir()) == []
