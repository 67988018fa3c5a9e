"""One view: totals, charts and every row, merged and by layer. Generic for whatever a domain file declares."""

from __future__ import annotations

from html import escape

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import charts
from dashboard.layers import BATCH, MERGED, SPEED, Values
from dashboard.status import coverage
from lake.domain import View
from lake.serving import Answer, Serving

_ROWS = 1000


def show_view(serving: Serving, view: View, answer: Answer, steps: int) -> None:
    """A bordered section; `steps` is how many points of time its charts reach back."""
    values = Values(view, *(serving.present(view.name, s) for s in (answer.merged, answer.batch, answer.speed)))
    with st.container(border=True):
        st.subheader(view.name.replace("_", " ").capitalize(), anchor=view.name)
        st.caption(view.description)
        if not len(values.merged):
            st.info("No event of this view has arrived yet.")
            return
        _totals(values)
        with st.container(horizontal=True, vertical_alignment="center"):
            measure = _pick("Measure", values.measures, f"{view.name}.measure")
            colours = ["layer", values.series] if values.series and values.is_additive(measure) else []
            colour = _pick("Colour", colours, f"{view.name}.colour") if colours else None
        left, right = st.columns([3, 2])
        _charts(values, measure, colour == values.series, steps, left, right)
        st.caption(coverage(answer))
        with st.expander(f"Every row of `{view.name}`: merged, batch, speed"):
            _table(values)


def _pick(label: str, options: list[str], key: str) -> str:
    return st.segmented_control(label, options, default=options[0], key=key, label_visibility="collapsed") or options[0]


def _totals(values: Values) -> None:
    """Of the additive measures: the merged number, and what it is the sum of."""
    parts = []
    for measure in filter(values.is_additive, values.measures):
        total = values.total(measure)
        parts.append(
            f"<div><div>{escape(measure.replace('_', ' '))}</div>"
            f"<div style='font-size:1.9rem;line-height:1.25;color:#16242f'>{_number(total[MERGED])}</div>"
            f"<div><b style='color:{charts.BATCH_COLOUR}'>{_number(total[BATCH])}</b> batch + "
            f"<b style='color:{charts.SPEED_COLOUR}'>{_number(total[SPEED])}</b> speed</div></div>"
        )
    if parts:
        st.html(f"<div style='display:flex;gap:3rem;font-size:0.85rem;color:#51626f'>{''.join(parts)}</div>")


def _charts(values: Values, measure: str, split: bool, steps: int, left: DeltaGenerator, right: DeltaGenerator) -> None:
    since, series, key = values.since(steps), values.series, values.view.name
    if not values.is_additive(measure):
        if values.time is None:
            return
        rows = values.lines(measure, since)
        _draw(left, rows, charts.lines(measure, series or "row"), f"{key}.lines.{measure}")
        seam = _at_the_seam(rows)
        _draw(right, seam, charts.three_numbers(measure, series or "row"), f"{key}.three.{measure}")
        right.caption(
            f"At {seam['t'][0].as_py():%H:%M} UTC. A distinct count, minimum or maximum of both layers is no sum: "
            "whoever is in both counts once."
        )
        return
    if values.time is not None:
        rows = values.over_time(measure, since, split)
        _draw(
            left,
            rows,
            charts.stacked(measure, values.step(), series if split else None),
            f"{key}.time.{measure}.{split}",
        )
    if series is not None:
        _draw(right, values.by_series(measure, since), charts.ranking(measure, series), f"{key}.rank.{measure}")


def _at_the_seam(rows: pa.Table) -> pa.Table:
    """The newest point of time that both layers have a part in, else the newest."""
    times = [r["t"] for r in rows.to_pylist() if r["batch"] is not None and r["speed"] is not None]
    at = max(times or rows["t"].to_pylist())
    return rows.filter(pc.equal(rows["t"], pa.scalar(at, rows["t"].type))).sort_by([("merged", "descending")])


def _draw(place: DeltaGenerator, rows: pa.Table, spec: dict, key: str) -> None:
    place.vega_lite_chart(rows.to_pandas(), spec, width="stretch", theme=None, key=key)


def _table(values: Values) -> None:
    rows = values.compared()
    if len(rows) > _ROWS:
        st.caption(f"The newest {_ROWS:,} of {len(rows):,} rows; the SQL box reaches all of them.")
    st.dataframe(rows.slice(0, _ROWS).to_pandas(), hide_index=True, width="stretch", key=f"{values.view.name}.rows")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100_000 else f"{value:,.2f}"
