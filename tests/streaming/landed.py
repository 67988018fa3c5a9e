"""What raw holds of a domain: up to where, and each record how often."""

from __future__ import annotations

from collections import Counter

from lake.errors import TidemarkError
from lake.raw import Raw
from tests.conftest import Sandbox


def landed(sandbox: Sandbox) -> dict[int, int]:
    """As `Raw.positions`; none where nothing was ever landed."""
    raw = Raw(sandbox.settings, sandbox.domain)
    try:
        return raw.positions(raw.table())
    except TidemarkError:
        return {}


def times_landed(sandbox: Sandbox) -> Counter[tuple[int, int]]:
    """(partition, offset) -> how often raw holds it."""
    raw = Raw(sandbox.settings, sandbox.domain)
    table = raw.table()
    found: Counter[tuple[int, int]] = Counter()
    for file in raw.files(table):
        rows = raw.read(file, ["partition", "offset"])
        found.update(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))
    return found
