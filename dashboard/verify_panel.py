"""The last verification of a domain, whoever asked for it, and the button that asks for a new one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import streamlit as st

from lake.domain import Domain
from lake.errors import TidemarkError
from lake.serving import Serving
from lake.settings import Settings
from lake.verify import Report, verify


@dataclass(frozen=True)
class Verified:
    """A report, or the sentence that says why there is none."""

    at: datetime
    report: Report | None
    error: str | None = None


@st.cache_resource
def last_verified() -> dict[str, Verified]:
    """By domain, shared by every visitor of this process."""
    return {}


def show_verify(settings: Settings, domain: Domain, serving: Serving) -> None:
    """For the sidebar: the button and the verdict."""
    if st.button("Verify now", icon=":material/verified:", width="stretch", key="verify"):
        with st.spinner("Recomputing every view from raw …"):
            last_verified()[domain.name] = _verify(settings, domain, serving)
    last = last_verified().get(domain.name)
    if last is None:
        st.caption("Not verified yet: recomputes every view from raw, without marts and store, and compares.")
    elif last.report is None:
        st.error(last.error)
    elif last.report.ok:
        compared = sum(view.rows_compared for view in last.report.views)
        st.success(f"Exact. {compared:,} rows equal a recompute from {last.report.raw_records:,} raw records.")
    else:
        st.error(f"{len(last.report.problems)} problems found; see below the views.")
    if last is not None:
        st.caption(f"Verified at {last.at:%Y-%m-%d %H:%M:%S} UTC")


def show_report(domain: Domain) -> None:
    """For the page: what the last verification compared, open if anything differs."""
    last = last_verified().get(domain.name)
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


def _verify(settings: Settings, domain: Domain, serving: Serving) -> Verified:
    at = datetime.now(UTC)
    try:
        return Verified(at, verify(settings, domain, serving))
    except TidemarkError as error:
        return Verified(at, None, str(error))
