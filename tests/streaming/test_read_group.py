"""A bundle of the speed layer's reader, without a runner."""

from __future__ import annotations

import time

import pytest

from streaming.pipeline import ReadGroup

BUNDLE_SECONDS = 1.0


class _SlowToOpen:
    """A reader whose first poll, which opens it, takes longer than a bundle may; each later one finds a chunk."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self._opened = False

    def poll(self, seconds: float) -> str | None:
        if not self._opened:
            self._opened = True
            time.sleep(BUNDLE_SECONDS * 1.1)
            return None
        return "a chunk"

    def close(self) -> None:
        self._opened = False


class _Whole:
    """Tracker and watermark of a restriction that nobody splits."""

    def current_restriction(self):
        return (), None

    def try_claim(self, positions) -> bool:
        return True

    def defer_remainder(self, after) -> None: ...

    def set_watermark(self, timestamp) -> None: ...


@pytest.fixture
def group(sandbox):
    group = ReadGroup(lambda: sandbox.settings, sandbox.domain, "generation", 0, 1, BUNDLE_SECONDS)
    group._reader = _SlowToOpen()
    yield group
    group.teardown()


def test_a_reader_that_opens_for_longer_than_a_bundle_takes_reads_a_chunk_nevertheless(group):
    bundle = group.process(0, tracker=_Whole(), watermark=_Whole())
    assert next(bundle).value == "a chunk"
