"""The newest verification that the lake keeps: a schedule's, or that of a person at the command line.

Invariant: what is shown is at most LOOK_SECONDS behind the lake and says when it was found; while the lake cannot be
read, that is said instead.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import streamlit as st
from deltalake.exceptions import DeltaError

from dashboard.readable import ago, vector
from lake.cuts import format_time
from lake.errors import lake_away
from lake.settings import Settings
from lake.verifications import Verification, Verifications

LOOK_SECONDS = 10
STALE = timedelta(days=2)
_PROBLEMS = 3


@dataclass(frozen=True)
class Kept:
    """The newest verification, None if there was never one; or the sentence that says why nobody knows."""

    newest: Verification | None
    error: str | None = None


class KeptVerification:
    """Of one domain, shared by all visitors: the lake is asked once in LOOK_SECONDS, however many look."""

    def __init__(self, settings: Settings, domain: str) -> None:
        self._verifications, self._domain = Verifications(settings), domain
        self._endpoint = settings.s3_endpoint
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._kept = Kept(None)

    def now(self) -> Kept:
        with self._lock:
            if time.monotonic() - self._asked > LOOK_SECONDS:
                self._kept = self._look()
                self._asked = time.monotonic()
            return self._kept

    def _look(self) -> Kept:
        try:
            return Kept(self._verifications.newest(self._domain))
        except (OSError, DeltaError) as error:
            return Kept(None, lake_away(self._endpoint, error))


def show_badge(kept: Kept) -> None:
    """One word and its age: green if all was exact, red if not, orange if that is long ago."""
    newest = kept.newest
    if kept.error:
        st.badge("Verifications cannot be read", icon=":material/cloud_off:", color="orange", help=kept.error)
    elif newest is None:
        st.badge("Never verified", icon=":material/question_mark:", color="gray", help=_HOW)
    else:
        age = datetime.now(UTC) - newest.at
        colour: Literal["red", "orange", "green"] = "red" if not newest.ok else "orange" if age > STALE else "green"
        icon = ":material/verified:" if newest.ok else ":material/error:"
        st.badge(f"{_verdict(newest)}, verified {ago(age)}", icon=icon, color=colour, help=_when(newest))


def show_kept(kept: Kept) -> None:
    """When, up to which offsets, and the verdict; what is wrong is in red."""
    newest = kept.newest
    if kept.error:
        st.error(kept.error, icon=":material/cloud_off:")
    elif newest is None:
        st.caption(_HOW)
    else:
        st.caption(f"Last kept verification: {_when(newest)}")
        if newest.ok:
            st.success(f"{_verdict(newest)}: {newest.rows_compared:,} rows equal a recompute from raw.")
        for problem in newest.problems[:_PROBLEMS]:
            st.error(problem)
        if (more := len(newest.problems) - _PROBLEMS) > 0:
            st.error(f"... and {more} more: `tidemark verifications --domain {newest.domain} --last 1`")


_HOW = "No verification is kept yet: the DAG `verify_views` and `tidemark verify` keep one each."


def _verdict(verification: Verification) -> str:
    words = {"exact": "Exact", "not exact": "Not exact", "unknown": "Not known to be exact"}
    return words[verification.verdict]


def _when(verification: Verification) -> str:
    took = f"{format_time(verification.at)}, in {verification.seconds:.0f} s"
    return f"{took}, up to {vector(verification.heads)}" if verification.heads else took
