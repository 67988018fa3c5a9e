"""The button that verifies a domain now, what came of it, and the newest verification that the lake keeps.

Invariant: at most one verification of a domain runs at a time, in a thread of its own, so the page goes on meanwhile.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import streamlit as st

from dashboard.kept_panel import KeptVerification, show_kept
from lake.errors import TidemarkError
from lake.settings import Settings
from lake.sql import Prompt
from lake.verify import Report, verify


@dataclass(frozen=True)
class Verified:
    """A report, or the sentence that says why there is none."""

    at: datetime
    report: Report | None
    error: str | None = None


class Verifier:
    """The verifications of one domain."""

    def __init__(self, settings: Settings, domain: str, prompt: Prompt) -> None:
        self._settings, self._domain, self._prompt = settings, domain, prompt
        self._running = threading.Lock()
        self.last: Verified | None = None
        self.kept = KeptVerification(settings, domain)

    @property
    def running(self) -> bool:
        return self._running.locked()

    def start(self) -> None:
        """Begin one, unless one is running."""
        if self._running.acquire(blocking=False):
            threading.Thread(target=self._run, name=f"verify {self._domain}", daemon=True).start()

    def _run(self) -> None:
        at = datetime.now(UTC)
        try:
            serving = self._prompt.serving(self._domain)
            self.last = Verified(at, verify(self._settings, serving.domain, serving))
        except TidemarkError as error:
            self.last = Verified(at, None, str(error))
        except Exception as error:  # whatever it was, a verdict that is old must not stand as the last one
            self.last = Verified(at, None, f"The verification failed: {type(error).__name__}: {error}")
        finally:
            self._running.release()


def show_verify(verifier: Verifier) -> None:
    """The button and its verdict, then the verdict that is kept."""
    st.button(
        "Verifying …" if verifier.running else "Verify now",
        icon=":material/verified:",
        width="stretch",
        key="verify",
        disabled=verifier.running,
        on_click=verifier.start,
    )
    last = verifier.last
    if last is None:
        st.caption("Recomputes every view from raw, without marts and store, and compares it with what is shown.")
    elif last.report is None:
        st.error(last.error)
    elif last.report.ok:
        compared = sum(view.rows_compared for view in last.report.views)
        st.success(f"Exact: {compared:,} rows equal a recompute from {last.report.raw_records:,} raw records.")
    else:
        st.error(f"{len(last.report.problems)} problems; the report is below the views.")
    if last is not None:
        st.caption(f"Verified {last.at:%Y-%m-%d %H:%M:%S} UTC")
    show_kept(verifier.kept.now())


def show_report(last: Verified | None) -> None:
    """What a verification compared, open if anything differs."""
    if last is None or last.report is None:
        return
    report = last.report
    with st.expander(f"Last verification, {last.at:%H:%M:%S} UTC", expanded=not report.ok, icon=":material/verified:"):
        for problem in report.problems:
            st.error(problem)
        columns = ("view", "frontier", "rows_compared", "from_batch", "from_speed", "mismatches")
        st.dataframe([{c: asdict(view)[c] for c in columns} for view in report.views], hide_index=True)
        for view in report.views:
            if view.examples:
                st.code("\n".join(view.examples), language=None)
        st.caption(
            f"raw: {report.raw_records:,} records, {report.raw_gaps} missing, {report.raw_duplicates} held twice"
        )
        st.dataframe(report.partitions, hide_index=True)
