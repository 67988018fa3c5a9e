"""What a person reads when a server is away: one sentence, soon, with the address and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import exit_on_error, lake_away

ROOT = Path(__file__).parents[2]
NOWHERE = "127.0.0.1:1"
SECONDS = 240  # a busy machine needs most of them to start Python; the programs themselves give up after five


def _start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    servers = {"KAFKA_BOOTSTRAP": NOWHERE, "S3_ENDPOINT": f"http://{NOWHERE}", "STORE_URL": f"redis://{NOWHERE}/0"}
    return subprocess.Popen(
        [sys.executable, "-m", "lake.cli", *arguments],
        cwd=ROOT,
        env=os.environ | {"TIDEMARK_HOME": str(home)} | {f"TIDEMARK_{k}": v for k, v in servers.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_needs_a_server_that_is_away_says_so_in_one_sentence(tmp_path: Path) -> None:
    kafka = f"Kafka does not answer at {NOWHERE} ("
    lake = f"the lake does not answer at http://{NOWHERE} ("
    started = {
        _start(tmp_path, "produce", "--count", "5"): (kafka, "TIDEMARK_KAFKA_BOOTSTRAP"),
        _start(tmp_path, "push", "documents", str(ROOT / "README.md")): (kafka, "TIDEMARK_KAFKA_BOOTSTRAP"),
        _start(tmp_path, "verify", "--domain", "shop", "--json"): (lake, "TIDEMARK_S3_ENDPOINT"),
    }
    for process, (said, setting) in started.items():
        out, told = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (2, ""), told
        [sentence] = told.splitlines()
        assert sentence.partition(": ")[2].startswith(said)
        assert sentence.endswith(f"; is it up (`tidemark status`), is {setting} right?")


def test_the_cause_is_the_last_that_the_client_says_without_its_colours() -> None:
    said = OSError(
        "Kernel error\n \x1b[31m↳\x1b[0m Generic S3 error\n  \x1b[31m↳\x1b[0m Connection refused (os error 111)\n"
    )
    assert "http://lake:9000 (Connection refused (os error 111)); is it up" in lake_away("http://lake:9000", said)


def test_a_lake_that_refuses_is_not_one_that_is_away() -> None:
    for told in (
        "Kernel error\n 403 Forbidden\n <Error><Code>SignatureDoesNotMatch</Code><Message>x</Message></Error>",
        "When reading: AWS Error ACCESS_DENIED during HeadObject operation: SignatureDoesNotMatch",
    ):
        said = lake_away("http://lake:9000", OSError(told))
        assert said.startswith("the lake at http://lake:9000 refuses (") and "SignatureDoesNotMatch" in said
        assert said.endswith("are TIDEMARK_S3_ACCESS_KEY and TIDEMARK_S3_SECRET_KEY right?")


def test_an_error_of_a_file_is_not_one_of_the_lake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised, exit_on_error():
        (tmp_path / "none").read_text()
    assert raised.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("FileNotFoundError: ") and str(tmp_path / "none") in told and "lake" not in told
