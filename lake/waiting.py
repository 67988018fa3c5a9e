"""Waiting for something outside this process, with an end and a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from lake.errors import TidemarkError

T = TypeVar("T")


def wait_until(
    attempt: Callable[[], T | None], timeout_seconds: float, pause_seconds: float, too_late: Callable[[], TidemarkError]
) -> T:
    """The first result of `attempt` that is not None. Raises what `too_late` makes once the timeout has passed."""

    def give_up(_: RetryCallState) -> NoReturn:
        raise too_late()

    result: T | None = Retrying(
        retry=retry_if_result(lambda found: found is None),
        wait=wait_fixed(pause_seconds),
        stop=stop_after_delay(timeout_seconds),
        retry_error_callback=give_up,
    )(attempt)
    assert result is not None
    return result
