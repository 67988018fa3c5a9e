"""Every error Tidemark raises on purpose, in one tree; a message names the value, what was expected and the fix.

TidemarkError
├── BadSettings        an environment variable or settings file is wrong
├── BadDomain          a domain file is wrong (file, field, fix)
├── BadDimension       a dimension's table cannot be loaded or read
├── BadExternal        external data cannot be added, or there is none of that name
├── LogStopped         the log is not the one that was being read
│   ├── LogRecreated   the topic was made anew: its id changed
│   ├── LogTruncated   the log ends before a stored position
│   ├── RetentionPassed  the log begins after a stored position
│   └── NotLogAppendTime a record's timestamp is not the broker's
├── NotSealed          raw does not yet hold the whole of a cut
├── RawDamaged         raw has holes, doubles or unreadable files
├── MartDamaged        a mart's tiles overlap or do not match their manifests
├── TileRefused        a tile would break the tiling, or another builder won
├── RestoreRefused     a topic cannot go on where raw ends
├── MissingCoverage    mart and speed view do not meet
├── StoreFenced        another writer moved the speed store on
└── StoreFull          the speed store has no room
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake.domain_errors import Mistake


class TidemarkError(Exception):
    """The root: whatever is raised from it carries a sentence a person can act on."""


class BadSettings(TidemarkError):
    """An environment variable or a line of settings.env cannot be used."""


class BadDomain(TidemarkError):
    """A domain file cannot be used. `mistake`: where and what, for whoever has the file and can say the line."""

    def __init__(self, message: str, mistake: Mistake | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake


class BadDimension(TidemarkError):
    """A dimension's table cannot be loaded, or the version asked for is not there."""


class BadExternal(TidemarkError):
    """External data cannot be added or read."""


class LogStopped(TidemarkError):
    """The log is not the one that was being read; going on would mix two logs or skip events."""


class LogRecreated(LogStopped):
    """The topic was deleted and made anew."""


class LogTruncated(LogStopped):
    """The log ends before a position that was already read."""


class RetentionPassed(LogStopped):
    """Kafka has deleted records that were not read yet."""


class NotLogAppendTime(LogStopped):
    """The topic's timestamps come from producers, so no cut could be trusted."""


class NotSealed(TidemarkError):
    """Raw does not hold a record at or after the cut's time in every partition."""


class RawDamaged(TidemarkError):
    """Raw does not hold each offset exactly once."""


class MartDamaged(TidemarkError):
    """A mart's tiles overlap, or a tile is not what its manifest says."""


class TileRefused(TidemarkError):
    """A tile would overlap others, leave a hole, or another build committed first."""


class RestoreRefused(TidemarkError):
    """A topic cannot be made to go on where raw ends without losing records."""


class MissingCoverage(TidemarkError):
    """The speed view does not reach back to the frontier of a mart."""


class StoreFenced(TidemarkError):
    """A write to the speed store was refused because another reader has moved on."""


class StoreFull(TidemarkError):
    """A write to the speed store was refused, as a whole, because the store has no room."""

    def __init__(self) -> None:
        super().__init__(
            "the store holds as much as it may (`maxmemory`; on Kubernetes `store.maxMemory`): raise that, or build "
            "slices, each of which frees what those before it cover; until then the head stands still"
        )


def lake_away(endpoint: str, error: Exception) -> str:
    """A sentence for whatever the lake's clients say when it does not answer, or refuses: where, why, and what to do.

    delta-rs says the cause in the last of many lines, coloured, or in the store's own XML; Arrow says all in one line.
    """
    lines = [re.sub(r"\x1b\[\d*m|↳", "", line).strip() for line in str(error).splitlines()]
    cause = next((line for line in reversed(lines) if line), type(error).__name__)[:300]
    if re.search(r"403 Forbidden|ACCESS_DENIED", str(error)):
        code = re.search(r"<Code>(\w+)</Code>", str(error))
        return (
            f"the lake at {endpoint} refuses ({code[1] if code else cause}); "
            "are TIDEMARK_S3_ACCESS_KEY and TIDEMARK_S3_SECRET_KEY right?"
        )
    return (
        f"the lake does not answer at {endpoint} ({cause}); "
        "is it up (`tidemark status`), is TIDEMARK_S3_ENDPOINT right?"
    )


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn a TidemarkError into its message on stderr and exit code 2, and whatever the lake's client says when it does
    not answer. For `main` functions only."""
    try:
        yield
    except TidemarkError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except OSError as error:
        print(f"{type(error).__name__}: {explain(error)}", file=sys.stderr)
        raise SystemExit(2) from error


def explain(error: OSError) -> str:
    """A sentence for an OSError: the lake's clients raise it, naming S3, AWS or the address; others are of files."""
    from lake.settings import load_settings  # which needs this module

    try:
        endpoint = load_settings().s3_endpoint
    except TidemarkError:
        return str(error)
    if endpoint not in str(error) and not re.search(r"\b(S3|AWS)\b", str(error)):
        return str(error)
    return lake_away(endpoint, error)
