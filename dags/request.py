"""What a run is asked to do, read from its parameters or its place in the schedule.

Invariant: a Request is a slice between two segment boundaries, and the same run gives the same T
at every try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lake.cuts import boundaries_around, epoch_ms, format_time, from_ms, parse_time, segment_start
from lake.domain import Domain
from lake.errors import TidemarkError
from lake.kernel import QUARANTINE, Kernel
from lake.marts import Manifest, tiles_by_view
from lake.settings import Settings

EVERY = "*"
"""The value of the parameter `domain` that stands for all of them; no domain can have this name."""


class BadRequest(TidemarkError):
    """The parameters of a run name no slice that could be built."""


@dataclass(frozen=True)
class Request:
    """[t0, t1); t0 None means each view's frontier."""

    t0: datetime | None
    t1: datetime


def read_domains(known: Sequence[str], context: Mapping[str, Any]) -> list[str]:
    """The domains that a run builds: the one that was chosen, or all that are known."""
    chosen = context["params"]["domain"]
    return list(known) if chosen == EVERY else [chosen]


def read_request(settings: Settings, context: Mapping[str, Any]) -> Request:
    """The slice of this run. Raises BadRequest with the parameter, its value and what would do.

    T1 is the parameter t1; without it a scheduled run's is the end of its data interval, and a manual run's the last
    segment boundary before it was triggered.
    """
    params, run, seconds = context["params"], context["dag_run"], settings.segment_seconds
    t0, t1 = (read_time(settings, name, params.get(name)) for name in ("t0", "t1"))
    if t1 is None and run.run_type == "manual":
        t1 = from_ms(segment_start(epoch_ms(_plain(run.run_after)), seconds))
    elif t1 is None:
        t1 = _boundary("the end of the data interval", _plain(context["data_interval_end"]), seconds)
    if t0 is not None and t0 >= t1:
        raise BadRequest(f"t0={format_time(t0)} is not before t1={format_time(t1)}; a slice [t0, t1) needs t0 < t1")
    return Request(t0, t1)


def read_range(settings: Settings, context: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The parameters `from` and `to`: [from, to), None being everything on that side. Raises BadRequest."""
    start, end = (read_time(settings, name, context["params"].get(name)) for name in ("from", "to"))
    if start is not None and end is not None and start >= end:
        raise BadRequest(f"from={format_time(start)} is not before to={format_time(end)}; tiles are in [from, to)")
    return start, end


def rebuilt(tiles: Mapping[str, list[Manifest]], t1: datetime) -> datetime | None:
    """The start of the slice that a rerun for `t1` replaces: every view has a tile that ends there, all start alike.

    None while some view has no such tile: then those that have it are done, and the others go on from their frontier.
    """
    starts = {next((m.t0 for m in run if m.t1 == t1), None) for run in tiles.values()}
    return starts.pop() if len(starts) == 1 else None


def covered(tiles: Mapping[str, list[Manifest]], t1: datetime) -> bool:
    """Whether every view is built beyond `t1` in tiles that do not end there: then nothing is left to build."""
    return all(run and run[-1].t1 > t1 and all(m.t1 != t1 for m in run) for run in tiles.values())


def built_tiles(settings: Settings, domain: Domain) -> dict[str, list[Manifest]]:
    """For each view, and the quarantine, its tiles up to the frontier, as they are in the lake now."""
    return tiles_by_view(settings, domain.name, Kernel(domain), [*domain.stored_views, QUARANTINE])


def read_time(settings: Settings, name: str, text: str | None) -> datetime | None:
    """A parameter that is a segment boundary, or empty. Raises BadRequest with name, value and what would do."""
    if not text:
        return None
    try:
        t = parse_time(text)
    except ValueError:
        raise BadRequest(f"{name}={text!r} is no time; write it like 2026-11-21T09:00:00Z") from None
    return _boundary(name, t, settings.segment_seconds)


def _plain(t: datetime) -> datetime:
    """Airflow gives a task times of Pendulum's, whose differences cannot be divided by a timedelta."""
    return parse_time(t.isoformat())


def _boundary(name: str, t: datetime, segment_seconds: int) -> datetime:
    if around := boundaries_around(t, segment_seconds):
        raise BadRequest(
            f"{name}={format_time(t)} lies within a segment of {segment_seconds} s (TIDEMARK_SEGMENT_SECONDS); "
            f"use {format_time(around[0])} or {format_time(around[1])}"
        )
    return t
