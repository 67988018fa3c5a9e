"""What marts must hold: the states of the kernel, run in one call over raw, as one hash a view."""

from __future__ import annotations

import hashlib
from datetime import datetime

import pyarrow as pa

from lake.domain import Domain
from lake.kernel import COUNTS, Kernel
from lake.marts import Mart, MartSnapshot
from lake.raw import Raw
from lake.settings import Settings


def golden(settings: Settings, domain: Domain, t: datetime, views: list[str] | None = None) -> dict[str, str]:
    """The hash of each view's states of all records before cut(t). For domains without announcements or dedup."""
    raw, kernel = Raw(settings, domain), Kernel(domain)
    parts = list(raw.scan({}, raw.cut(t)))
    states = kernel.run(pa.concat_tables(parts), names=views or stored_views(kernel))
    return {view: digest(table) for view, table in states.items()}


def stored(settings: Settings, domain: Domain, views: list[str] | None = None) -> dict[str, str]:
    """The same of what the tiles of each view hold, up to its frontier."""
    kernel = Kernel(domain)
    return {
        view: digest(kernel.merge(view, snapshot(settings, domain, view).states))
        for view in views or stored_views(kernel)
    }


def snapshot(settings: Settings, domain: Domain, view: str) -> MartSnapshot:
    """The mart of a view as it is now."""
    kernel = Kernel(domain)
    return Mart(settings, domain.name, view, kernel.schema(view), kernel.definition_hash(view)).snapshot()


def stored_views(kernel: Kernel) -> list[str]:
    return [name for name in kernel.names if name != COUNTS]


def digest(states: pa.Table) -> str:
    """SHA-256 over the sorted rows: the names of their columns and their values."""
    rows = sorted(repr(tuple(row.values())) for row in states.to_pylist())
    return hashlib.sha256("\n".join([repr(states.column_names), *rows]).encode()).hexdigest()
