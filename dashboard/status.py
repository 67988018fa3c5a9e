"""Where batch ends and speed begins, how fresh the answer is and whether it is held: the top of the page.

Invariant: nothing is shown as live that is not; an answer that is held says so, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import streamlit as st

from dashboard.charts import BATCH_COLOUR, SPEED_COLOUR
from dashboard.kept_panel import Kept, show_badge
from dashboard.readable import ago, vector
from lake.cuts import EPOCH, count, format_time
from lake.serving import Answer


def show_status(answers: Sequence[Answer], kept: Kept) -> None:
    """Of all views together: the earliest frontier, the newest event; and what the newest kept verification found."""
    first = min(answers, key=lambda answer: (answer.frontier, answer.view))
    fresh = max((answer.fresh_to for answer in answers if answer.fresh_to), default=None)
    now = datetime.now(UTC)
    batch, speed = count({}, first.cut), count(first.cut, first.head)
    for reason in dict.fromkeys(answer.held for answer in answers if answer.held):
        st.warning(
            f"**Held.** The last answer is shown, exact as of its head. {reason}", icon=":material/pause_circle:"
        )
    show_badge(kept)
    columns = st.columns(4)
    columns[0].metric(
        "Newest event",
        ago(now - fresh) if fresh else "none in speed",
        help=f"append_time {format_time(fresh)}" if fresh else None,
        border=True,
    )
    columns[1].metric(
        "Frontier (UTC)",
        f"{first.frontier:%H:%M:%S}" if first.frontier > EPOCH else "no tile yet",
        help=f"Batch counts what was appended before {format_time(first.frontier)}; speed what came after it.",
        border=True,
    )
    columns[2].metric("Events in batch", f"{batch:,}", help=f"offsets before {vector(first.cut)}", border=True)
    columns[3].metric("Events in speed", f"{speed:,}", help=f"offsets up to {vector(first.head)}", border=True)
    st.html(_seam(batch, speed, first, held=any(answer.held for answer in answers)))


def coverage(answer: Answer, shown: int) -> str:
    """One line under a view: how many rows are shown, and what they come from."""
    stored = f" of {len(answer.merged):,} stored" if shown != len(answer.merged) else ""
    parts = [
        f"**{shown:,}** rows{stored}",
        f"{len(answer.batch):,} with a batch part, {len(answer.speed):,} with a speed part",
        f"frontier {format_time(answer.frontier) if answer.frontier > EPOCH else 'not set yet'}",
        f"head {vector(answer.head)}",
    ]
    return " · ".join([*parts, "held"] if answer.held else parts)


def _seam(batch: int, speed: int, answer: Answer, held: bool) -> str:
    """The log as one band, from its beginning to the head, in the colours of the layer that counts it."""
    share = 100 * batch / (batch + speed) if batch + speed else 0
    rest = 100 - share if speed else 0
    state = "held" if held else "live"
    frontier = escape(format_time(answer.frontier)) if answer.frontier > EPOCH else "beginning of the log"
    return f"""
<div style="font-size:0.8rem;color:#51626f">
  <div style="display:flex;height:14px;border-radius:7px;overflow:hidden;background:#e8edf1">
    <div style="width:{share:.2f}%;background:{BATCH_COLOUR}"></div>
    <div style="width:3px;background:#fff"></div>
    <div style="flex:{1 if batch + speed else 0};background:{SPEED_COLOUR}"></div>
  </div>
  <div style="display:flex;justify-content:space-between;margin-top:4px">
    <span><b style="color:{BATCH_COLOUR}">■ batch</b> {share:.1f} % · up to the frontier, {frontier}</span>
    <span><b style="color:{SPEED_COLOUR}">■ speed</b> {rest:.1f} % · up to the head, {state}</span>
  </div>
</div>"""
