"""The SQL box: one SELECT over the merged views, their layers, raw and quarantine."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard.readable import readable
from lake.errors import TidemarkError
from lake.sql import Prompt

_ROWS = 1000


@st.fragment
def show_sql(prompt: Prompt, view: str) -> None:
    """The box starts with a query of `view`."""
    st.subheader("SQL", anchor="sql")
    with st.form("sql", border=True):
        statement = st.text_area(
            "A SELECT, answered at one moment of the log",
            f"SELECT * FROM {view} ORDER BY ALL LIMIT 20",
            height=110,
            key="statement",
        )
        asked = st.form_submit_button("Run", icon=":material/play_arrow:")
    st.caption("Tables: " + ", ".join(f"`{name}`" for name in prompt.tables))
    if asked:
        # Kept, so that the page's other widgets do not clear it.
        st.session_state["answered"] = _answered(prompt, statement)
    answered = st.session_state.get("answered")
    if isinstance(answered, str):
        st.error(answered)
    elif answered is not None:
        shown = f"The first {_ROWS:,} of " if len(answered) > _ROWS else ""
        st.caption(f"{shown}{len(answered):,} rows")
        st.dataframe(readable(answered.slice(0, _ROWS)).to_pandas(), hide_index=True, width="stretch", key="rows")


def _answered(prompt: Prompt, statement: str) -> pa.Table | str:
    """Rows, or the sentence that says what is wrong."""
    try:
        return prompt.query(statement)
    except TidemarkError as error:
        return str(error)
