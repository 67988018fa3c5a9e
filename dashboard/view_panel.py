"""One view: totals, charts and every row, merged and by layer. Generic for whatever a domain file declares."""

from __future__ import annotations

from datetime import datetime
from html import escape

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import charts
from dashboard.layers import BARS, BATCH, MERGED, ROWS, SPEED, Values
from dashboard.readable import readable
from dashboard.status import coverage
from lake.serving import Answer, Serving
from lake.view import View

_CANDLES = "candles"


def show_view(serving: Serving, view: View, answer: Answer, steps: int) -> None:
    """A bordered section; `steps` is how many points of time its charts reach back."""
    batch, speed = (serving.present(view.name, states) for states in (answer.batch, answer.speed))
    values = Values(view, serving.values(answer), batch, speed)
    with st.container(border=True):
        st.subheader(view.name.replace("_", " ").capitalize(), anchor=view.name)
        st.caption(view.description)
        if not len(values.merged):
            st.info("No row to show yet." if len(answer.merged) else "No event of this view has arrived yet.")
            return
        _totals(values)
        _chart(values, steps)
        st.caption(coverage(answer, len(values.merged)))
        with st.expander(f"Every row of `{view.name}`: merged, batch, speed", expanded=not charted(values)):
            _table(values)


def charted(values: Values) -> list[str]:
    """What there is a chart of."""
    return [*([_CANDLES] if values.has_candles else []), *values.numbers, *values.lists]


def _chart(values: Values, steps: int) -> None:
    if not charted(values):
        return
    name, since = values.view.name, values.since(steps)
    with st.container(horizontal=True, vertical_alignment="center"):
        column = _pick("Measure", charted(values), f"{name}.measure")
        colours = ["layer", values.series] if values.series and values.time and values.is_additive(column) else []
        colour = _pick("Colour", colours, f"{name}.colour") if colours else None
        candle = _choose("Series", values.names(), f"{name}.candle") if column == _CANDLES and values.series else None
        rows = values.rows(column) if column in values.lists else []
        row = _choose("Row", rows, f"{name}.row") if rows else None
    left, right = st.columns([3, 2])
    if column == _CANDLES:
        _draw_candles(values, candle, since, left)
        _draw_volume(values, candle, since, right)
    elif row is not None:
        _draw(left, values.counts(column, row), charts.three_numbers("count", column), f"{name}.counts.{column}")
    elif column in values.lists:
        left.caption("No row has anything in this list.")
    elif values.is_additive(column):
        _draw_sums(values, column, colour is not None and colour == values.series, since, left, right)
    else:
        _draw_numbers(values, column, since, left, right)


def _draw_sums(
    values: Values, column: str, split: bool, since: datetime | None, left: DeltaGenerator, right: DeltaGenerator
) -> None:
    """Of numbers that add up: batch and speed above each other, over time and by series."""
    key, title, series = values.view.name, values.title(column), values.series
    if values.time is None:
        _draw(left, values.by_series(column, None), charts.ranking(title, series or "all"), f"{key}.rank.{column}")
        return
    spec = charts.stacked(title, values.step(), series if split else None)
    _draw(left, values.over_time(column, since, split), spec, f"{key}.time.{column}.{split}")
    if series is not None:
        newest = values.since(1) if values.time in values.view.per else None
        rows = values.by_series(column, newest or since)
        _draw(right, rows, charts.ranking(title, series), f"{key}.rank.{column}")
        if newest:
            right.caption(f"At {newest:%Y-%m-%d %H:%M} UTC, the newest.")


def _draw_numbers(
    values: Values, column: str, since: datetime | None, left: DeltaGenerator, right: DeltaGenerator
) -> None:
    """Of numbers that do not add up: the merged ones over time, and all three of some rows."""
    key, title, series = values.view.name, values.title(column), values.series or "row"
    if values.time is None:
        _draw(left, values.ranked(column), charts.three_numbers(title, series), f"{key}.three.{column}")
        if len(values.merged) > BARS:
            left.caption(f"The first {BARS} of {len(values.merged):,} rows.")
        return
    rows = values.lines(column, since)
    if not len(rows):
        return
    _draw(left, rows, charts.lines(title, series), f"{key}.lines.{column}")
    seam = _at_the_seam(rows)
    _draw(right, seam, charts.three_numbers(title, series), f"{key}.three.{column}")
    right.caption(
        f"At {seam['t'][0].as_py():%Y-%m-%d %H:%M} UTC. This number of both layers is no sum of theirs: "
        "it is computed from their merged states."
    )


def _draw_candles(values: Values, series: str | None, since: datetime | None, place: DeltaGenerator) -> None:
    spec = charts.candles(values.title("close"), values.step())
    _draw(place, values.candles(series, since), spec, f"{values.view.name}.candles")


def _draw_volume(values: Values, series: str | None, since: datetime | None, place: DeltaGenerator) -> None:
    """The first number beside the prices that adds up, of the same series."""
    column = next(filter(values.is_additive, values.numbers), None)
    if column is None:
        return
    rows = values.over_time(column, since, split=series is not None, only=series)
    _draw(place, rows, charts.stacked(values.title(column), values.step(), None), f"{values.view.name}.volume")


def _at_the_seam(rows: pa.Table) -> pa.Table:
    """The newest point of time that both layers have a part in, else the newest."""
    times = [r["t"] for r in rows.to_pylist() if r["batch"] is not None and r["speed"] is not None]
    at = max(times or rows["t"].to_pylist())
    return rows.filter(pc.equal(rows["t"], pa.scalar(at, rows["t"].type))).sort_by([("merged", "descending")])


def _totals(values: Values) -> None:
    """Of the additive columns: the merged number, and what it is the sum of."""
    parts = []
    for column in filter(values.is_additive, values.numbers if values.is_whole else ()):
        total = values.total(column)
        parts.append(
            f"<div><div>{escape(values.title(column))}</div>"
            f"<div style='font-size:1.9rem;line-height:1.25;color:#16242f'>{_number(total[MERGED])}</div>"
            f"<div><b style='color:{charts.BATCH_COLOUR}'>{_number(total[BATCH])}</b> batch + "
            f"<b style='color:{charts.SPEED_COLOUR}'>{_number(total[SPEED])}</b> speed</div></div>"
        )
    if parts:
        style = "display:flex;flex-wrap:wrap;gap:1rem 3rem;font-size:0.85rem;color:#51626f"
        st.html(f"<div style='{style}'>{''.join(parts)}</div>")


def _pick(label: str, options: list[str], key: str) -> str:
    return st.segmented_control(label, options, default=options[0], key=key, label_visibility="collapsed") or options[0]


def _choose(label: str, options: list[str], key: str) -> str:
    """One of many; what was chosen and is there no more gives way to the first."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return st.selectbox(label, options, key=key, label_visibility="collapsed", width=240) or options[0]


def _draw(place: DeltaGenerator, rows: pa.Table, spec: dict, key: str) -> None:
    place.vega_lite_chart(rows.to_pandas(), spec, width="stretch", theme=None, key=key)


def _table(values: Values) -> None:
    if len(values.merged) > ROWS:
        st.caption(f"The first {ROWS:,} of {len(values.merged):,} rows; the SQL box reaches all of them.")
    rows = readable(values.compared()).to_pandas()
    st.dataframe(rows, hide_index=True, width="stretch", key=f"{values.view.name}.rows")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100_000 else f"{value:,.2f}"
