"""What can go wrong on this machine; each message says what to do about it."""

from __future__ import annotations

from lake.errors import TidemarkError


class ToolMissing(TidemarkError):
    """A program that set-up needs is not installed."""


class ToolFailed(TidemarkError):
    """A tool could not be downloaded or built."""


class DiskFull(TidemarkError):
    """Too little space is left to start or to build anything."""


class PortTaken(TidemarkError):
    """Another program listens where a part of the stack wants to."""


class PartFailed(TidemarkError):
    """A part of the stack did not start, or did not become healthy in time."""


class DemoFailed(TidemarkError):
    """The demo could not reach its end; the stack is left running to be looked at."""
