"""Files of any kind: the object in the lake, the event on the log, the words countable."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from minio import Minio

from lake.domain import load_domain
from lake.errors import BadDomain
from lake.formats import Text
from lake.kernel import COUNTS, Kernel
from lake.log import Log
from lake.tables import filesystem
from streaming import push_files
from streaming.push_files import FIELDS, MAX_TEXT_BYTES, BadFile, push

ROOT = Path(__file__).parents[2]
DECLARED = {
    "event_time": "event_time",
    "fields": {
        "event_id": {"type": "string", "required": True},
        "event_time": {"type": "timestamp_ms", "required": True},
        "name": {"type": "string", "required": True},
        "media_type": {"type": "string"},
        "bytes": {"type": "integer", "min": 0},
        "sha256": {"type": "string"},
        "uri": {"type": "string"},
        "text": {"type": "string"},
    },
    "views": {
        "words": {
            "each": {"word": r"regexp_extract_all(lower(text), '[\p{L}\p{N}]+')"},
            "group_by": {"word": "word"},
            "measures": {"times": "count"},
        }
    },
}


@pytest.fixture
def papers(sandbox):
    """A sandbox whose domain is of files."""
    name = sandbox.domain.name
    declared = {"domain": name, **DECLARED, "topic": name}
    path = sandbox.settings.domains_dir / f"{name}.yaml"
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return type(sandbox)(sandbox.settings, load_domain(name, sandbox.settings.domains_dir))


def events(rows) -> dict[str, dict]:
    return {event["name"]: event for event in map(json.loads, rows["value"].to_pylist())}


def stored(papers, sha256: str) -> bytes | None:
    key = f"{papers.settings.bucket}/files/{sha256}"
    system = filesystem(papers.settings)
    if system.get_file_info(key).type.name != "File":
        return None
    with system.open_input_stream(key, compression=None) as stream:
        return stream.read()


def test_a_file_of_any_kind_is_in_the_lake_and_its_event_on_the_log(papers, read_log, tmp_path):
    contents = {
        "poem.txt": "To be, or not to be: que será «será»\n".encode(),
        "notes.unknown": b"plain enough",
        "picture.png": b"\x89PNG\r\n\x1a\n\x00",
        "nul.txt": b"a\x00b",
        "empty.md": b"",
        "long.txt": b"word " * (MAX_TEXT_BYTES // 5 + 1),
        "escaped.txt": b"\x01" * (MAX_TEXT_BYTES // 2),
        "large.bin": os.urandom(12 << 20),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1_795_262_400, 1_795_262_400))
    line = [
        sys.executable,
        "-m",
        "lake.cli",
        "push",
        papers.domain.name,
        *(str(tmp_path / n) for n in contents),
        "--json",
    ]
    done = subprocess.run(
        line, cwd=ROOT, env=papers.environment, capture_output=True, text=True, timeout=60, check=True
    )
    told = {file["name"]: file for file in json.loads(done.stdout)["files"]}
    rows = read_log(papers)
    found = events(rows)
    assert found.keys() == contents.keys() == told.keys()
    for name, content in contents.items():
        event = found[name]
        assert tuple(event) == FIELDS
        assert event["sha256"] == hashlib.sha256(content).hexdigest()
        assert event["uri"] == f"s3://{papers.settings.bucket}/files/{event['sha256']}"
        assert (event["bytes"], event["event_time"]) == (len(content), 1_795_262_400_000)
        assert stored(papers, event["sha256"]) == content
        travels = name in ("poem.txt", "notes.unknown", "empty.md")
        assert event["text"] == (content.decode() if travels else None)
        assert (told[name]["is_new"], told[name]["has_text"]) == (True, travels)
    kinds = {name: event["media_type"] for name, event in found.items()}
    assert kinds["poem.txt"] == kinds["notes.unknown"] == "text/plain"
    assert (kinds["picture.png"], kinds["large.bin"]) == ("image/png", "application/octet-stream")
    results = Kernel(papers.domain).run(rows)
    assert sum(count["good"] for count in results[COUNTS].to_pylist()) == len(contents)
    words = {row["word"]: row["times"] for row in results["words"].to_pylist()}
    assert words == {"to": 2, "be": 2, "or": 1, "not": 1, "que": 1, "será": 2, "plain": 1, "enough": 1}


def test_the_same_file_pushed_again_is_one_object_and_the_same_event(papers, read_log, tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("same")
        os.utime(tmp_path / name, (1, 1))
    files = [tmp_path / "a.txt", tmp_path / "a.txt", tmp_path / "b.txt"]
    assert [file.is_new for file in push(papers.settings, papers.domain, files)] == [True, False, False]
    rows = read_log(papers).to_pylist()
    assert len(rows) == 3 and len({(row["partition"], row["key"], row["value"]) for row in rows}) == 2
    when = Kernel(papers.domain).run(read_log(papers))["words"].to_pylist()
    assert when == [{"word": "same", "times": 3}]
    assert datetime.fromtimestamp(events(read_log(papers))["a.txt"]["event_time"] / 1000, UTC).year == 1970


def test_a_file_that_changes_while_it_is_pushed_leaves_neither_object_nor_event(papers, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    looked = Minio.stat_object

    def change(*arguments):
        path.write_text("behind")
        return looked(*arguments)

    monkeypatch.setattr(push_files.Minio, "stat_object", change)
    with pytest.raises(BadFile, match="changed while it was read"):
        list(push(papers.settings, papers.domain, [path]))
    assert stored(papers, hashlib.sha256(b"before").hexdigest()) is None
    assert sum(Log(papers.settings, papers.domain).end().values()) == 0


def test_what_cannot_be_pushed_is_told_before_anything_is(papers, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadFile, match="is no file here"):
            list(push(papers.settings, papers.domain, [tmp_path / "a.txt", path]))
    other = papers.domain.model_copy(update={"format": Text()})
    with pytest.raises(BadDomain, match="another format than json"):
        list(push(papers.settings, other, [tmp_path / "a.txt"]))
    assert stored(papers, hashlib.sha256(b"a").hexdigest()) is None
