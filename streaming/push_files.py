"""Puts files of any kind into the lake, files/<SHA-256>, and an event for each onto a domain's topic.

Invariant: an event names only what is in the lake. The same content is one object, and the same file (name, content,
time) one event, byte for byte: pushed again it is a duplicate, which a domain with dedup on event_id counts once.
"""

from __future__ import annotations

import hashlib
import io
import json
import mimetypes
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast
from urllib.parse import urlsplit

import typer
from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from lake.domain import Domain, load_domain
from lake.errors import BadDomain, TidemarkError, exit_on_error
from lake.formats import Json
from lake.log import MAX_VALUE_BYTES
from lake.screen import print_json, print_table
from lake.settings import Settings, load_settings
from streaming.logs import configure_logs
from streaming.produce import EventProducer
from streaming.topic import find_topic

FIELDS = ("event_id", "event_time", "name", "media_type", "bytes", "sha256", "uri", "text")
"""What an event of a file has; event_time is when the file was last changed, in ms."""
# A text that is longer does not travel: its event has to fit, however many of its characters JSON must escape.
MAX_TEXT_BYTES = MAX_VALUE_BYTES - 64 * 1024
_BLOCK_BYTES = 1 << 20


class BadFile(TidemarkError):
    """A file cannot be read."""


@dataclass(frozen=True)
class Pushed:
    """What became of one file. `is_new`: its content was not in the lake before."""

    name: str
    media_type: str
    bytes: int
    sha256: str
    uri: str
    is_new: bool
    has_text: bool


def push(settings: Settings, domain: Domain, files: list[Path]) -> Iterator[Pushed]:
    """Push each file; all that was yielded is acknowledged once the iterator has ended. Raises BadFile, BadDomain."""
    if not isinstance(domain.format, Json):
        raise BadDomain(f"domain '{domain.name}' has another format than json, in which a file's event is written")
    for path in files:
        if not path.is_file():
            raise BadFile(f"'{path}' is no file here; give the paths of files, not of folders")
    topic = find_topic(settings, domain.topic)
    client = _client(settings)
    producer = EventProducer(settings, topic.name)
    for path in files:
        try:
            sha256, size, is_new = _store(client, settings.bucket, path)
            event = _event(path, sha256, size, settings.table_uri("files", sha256))
        except OSError as error:
            raise BadFile(f"'{path}' cannot be read: {error}") from error
        except (MinioException, HTTPError) as error:
            raise TidemarkError(f"the lake at {settings.s3_endpoint} did not take '{path}': {error}") from error
        value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        if len(value) > MAX_TEXT_BYTES:
            event["text"] = None
            value = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        producer.send(event["event_id"].encode(), value, "pushed")
        told = {name: event[name] for name in ("name", "media_type", "bytes", "sha256", "uri")}
        yield Pushed(**told, is_new=is_new, has_text=event["text"] is not None)
    producer.close()


class _Checked(io.RawIOBase):
    """A file as it is uploaded; raises BadFile instead of giving the last of it if that is not what was hashed."""

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        self._file, self._path, self._left, self._sha256 = path.open("rb"), path, size, sha256
        self._hashed = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(self._left if size < 0 else min(size, self._left))
        self._hashed.update(block)
        self._left -= len(block)
        if self._left == 0 and block and self._hashed.hexdigest() != self._sha256:
            raise _changed(self._path)
        return block

    def close(self) -> None:
        self._file.close()
        super().close()


def _store(client: Minio, bucket: str, path: Path) -> tuple[str, int, bool]:
    """(the content's SHA-256 and size, whether it had to be put into the lake); an object is whole or not there."""
    hashed, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hashed.update(block)
            size += len(block)
    sha256 = hashed.hexdigest()
    try:
        client.stat_object(bucket, f"files/{sha256}")
        return sha256, size, False
    except S3Error as error:
        if error.code != "NoSuchKey":
            raise
    with closing(_Checked(path, size, sha256)) as content:
        client.put_object(bucket, f"files/{sha256}", cast(BinaryIO, content), size)
    return sha256, size, True


def _client(settings: Settings) -> Minio:
    endpoint = urlsplit(settings.s3_endpoint)
    return Minio(
        endpoint.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=endpoint.scheme == "https",
    )


def _event(path: Path, sha256: str, size: int, uri: str) -> dict[str, Any]:
    event_time = path.stat().st_mtime_ns // 1_000_000
    text = _text(path, sha256) if size <= MAX_TEXT_BYTES else None
    guessed, encoding = mimetypes.guess_type(path.name)
    fallback = "text/plain" if text is not None else "application/octet-stream"
    identity = json.dumps([path.name, sha256, event_time]).encode()
    return {
        "event_id": hashlib.sha256(identity).hexdigest()[:32],
        "event_time": event_time,
        "name": path.name,
        "media_type": (guessed if guessed and not encoding else None) or fallback,
        "bytes": size,
        "sha256": sha256,
        "uri": uri,
        "text": text,
    }


def _text(path: Path, sha256: str) -> str | None:
    """The content if it is a text: UTF-8 without NULs."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(path)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _changed(path: Path) -> BadFile:
    return BadFile(f"'{path}' changed while it was read; push it again when it is at rest")


def main(
    domain: str,
    files: Annotated[list[Path], typer.Argument(help="Files of any kind.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Put files into the lake and an event for each onto the domain's topic; a text's words travel with it."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        pushed = list(push(settings, load_domain(domain, settings.domains_dir), files))
        if as_json:
            print_json({"domain": domain, "files": [asdict(file) for file in pushed]})
            return
        rows = [(p.name, p.media_type, p.bytes, "yes" if p.has_text else "", p.uri) for p in pushed]
        print_table(("name", "media type", "bytes", "text", "in the lake"), rows)


if __name__ == "__main__":
    program = typer.Typer(add_completion=False)
    program.command()(main)
    program(prog_name="tidemark push")
