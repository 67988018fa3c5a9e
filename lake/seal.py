"""Sealing a cut: making sure that the log, and then raw, reach past T in every partition.

From the moment `seal` returns, cut(T) is final, and whoever computes it from raw gets the same vector for ever.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from lake.cuts import Cut, covers, epoch_ms, format_time
from lake.domain import Domain
from lake.errors import NotSealed
from lake.log import Log
from lake.raw import Raw
from lake.settings import Settings


def seal(settings: Settings, domain: Domain, t: datetime) -> Cut:
    """Write markers until each partition's append_time has reached `t`, await them in raw, return cut(t).

    Raises NotSealed if `t` is further ahead, or raw further behind, than TIDEMARK_SEAL_TIMEOUT_SECONDS.
    """
    ahead = (t - datetime.now(UTC)).total_seconds()
    if ahead > settings.seal_timeout_seconds:
        raise NotSealed(
            f"{format_time(t)} is {ahead:.0f} s in the future; seal it then, or raise "
            f"TIDEMARK_SEAL_TIMEOUT_SECONDS={settings.seal_timeout_seconds:.0f}"
        )
    marks = _mark_until(settings, Log(settings, domain), t)
    raw = Raw(settings, domain)
    _await_in_raw(settings, raw, {p: offset + 1 for p, offset in marks.items()})
    return raw.cut(t)


def _mark_until(settings: Settings, log: Log, t: datetime) -> Cut:
    """Offsets of markers that count: append_time >= t, in as many partitions as there are once t has passed."""

    def mark() -> Cut | None:
        partitions = log.partitions()
        marks = log.mark(t, partitions)
        reached = all(append_ms >= epoch_ms(t) for _, append_ms in marks.values())
        if reached and log.partitions() == partitions:
            return {p: offset for p, (offset, _) in marks.items()}
        return None

    return _awaited(settings, mark, lambda: f"the broker's clock has not reached {format_time(t)} in every partition")


def _await_in_raw(settings: Settings, raw: Raw, wanted: Cut) -> None:
    def landed() -> Cut | None:
        held = raw.positions(raw.table())
        return held if covers(held, wanted) else None

    def behind() -> str:
        held = raw.positions(raw.table())
        lag = {p: offset - held.get(p, 0) for p, offset in wanted.items() if held.get(p, 0) < offset}
        return f"raw lacks records of partitions {lag} (partition: how many); is the lander running?"

    _awaited(settings, landed, behind)


def _awaited(settings: Settings, attempt, reason) -> Cut:  # type: ignore[no-untyped-def]
    def give_up(_: object) -> Cut:
        raise NotSealed(f"not sealed after {settings.seal_timeout_seconds:.0f} s: {reason()}")

    return Retrying(
        retry=retry_if_result(lambda result: result is None),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(settings.seal_timeout_seconds),
        retry_error_callback=give_up,
    )(attempt)
