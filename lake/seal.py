"""Sealing a cut: making sure that the log, and then raw, reach past T in every partition.

From the moment `seal` returns, cut(T) is final, and whoever computes it from raw gets the same vector for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime

from lake.cuts import Cut, check_boundary, epoch_ms, format_time
from lake.domain import Domain
from lake.errors import NotSealed
from lake.log import Log
from lake.raw import Raw
from lake.settings import Settings
from lake.waiting import wait_until


def seal(settings: Settings, domain: Domain, t: datetime) -> Cut:
    """Write markers until each partition's append_time has reached `t`, await them in raw, return cut(t).

    Raises NotSealed if `t` is no segment boundary, or further ahead, or raw further behind, than
    TIDEMARK_SEAL_TIMEOUT_SECONDS.
    """
    check_boundary(t, settings.segment_seconds)
    patience = settings.seal_timeout_seconds
    ahead = (t - datetime.now(UTC)).total_seconds()
    if ahead > patience:
        raise NotSealed(
            f"{format_time(t)} is {ahead:.0f} s in the future; seal it then, or raise "
            f"TIDEMARK_SEAL_TIMEOUT_SECONDS={patience:.0f}"
        )
    marks = _mark_until(Log(settings, domain), t, patience)
    raw = Raw(settings, domain)
    raw.await_positions({p: offset + 1 for p, offset in marks.items()}, patience)
    return raw.cut(t)


def _mark_until(log: Log, t: datetime, timeout_seconds: float) -> Cut:
    """Offsets of markers that count: append_time >= t, in as many partitions as there are once t has passed."""

    def mark() -> Cut | None:
        partitions = log.partitions()
        marks = log.mark(t, partitions)
        reached = all(append_ms >= epoch_ms(t) for _, append_ms in marks.values())
        if reached and log.partitions() == partitions:
            return {p: offset for p, (offset, _) in marks.items()}
        return None

    def too_late() -> NotSealed:
        return NotSealed(
            f"after {timeout_seconds:.0f} s the brokers' clocks have not reached {format_time(t)} in every partition"
        )

    return wait_until(mark, timeout_seconds, 0.5, too_late)
