"""The one page: `streamlit run dashboard/app.py`. Wiring only; each panel is a module beside it.

Invariant: whatever Tidemark refuses is shown as its sentence, never as a traceback.
"""

from __future__ import annotations

import streamlit as st

from dashboard.sql_panel import show_sql
from dashboard.status import show_status
from dashboard.verify_panel import show_report, show_verify
from dashboard.view_panel import show_view
from lake.domain import Domain, load_domains
from lake.errors import TidemarkError
from lake.serving import Serving
from lake.settings import Settings, load_settings
from lake.sql import Prompt

REFRESH_SECONDS = 2
STEPS = [30, 60, 120, 360]


@st.cache_resource(show_spinner=False)
def connect() -> tuple[Settings, dict[str, Domain], Prompt]:
    """Once a process: its settings, domains and servings, shared by every visitor."""
    settings = load_settings()
    domains = load_domains(settings.domains_dir)
    return settings, domains, Prompt(settings, domains)


@st.fragment(run_every=REFRESH_SECONDS)
def live(domain: Domain, serving: Serving, steps: int) -> None:
    """What changes by itself."""
    try:
        answers = {name: serving.answer(name) for name in domain.views}
    except TidemarkError as error:
        st.error(str(error), icon=":material/cloud_off:")
        return
    show_status(list(answers.values()))
    for name, view in domain.views.items():
        show_view(serving, view, answers[name], steps)


def page() -> None:
    settings, domains, prompt = connect()
    with st.sidebar:
        st.markdown("# Tidemark")
        domain = domains[st.selectbox("Domain", list(domains), key="domain")]
        st.markdown(domain.description)
        if domain.owner:
            st.caption(f"Owner: {domain.owner}")
        steps = st.select_slider("Points of time in the charts", STEPS, STEPS[1], key="steps")
        st.divider()
        serving = prompt.serving(domain.name)
        show_verify(settings, domain, serving)
    st.title(domain.name.replace("_", " ").capitalize(), anchor=False)
    live(domain, serving, steps)
    show_report(domain)
    show_sql(prompt, next(iter(domain.views)))


st.set_page_config(page_title="Tidemark", page_icon=":material/waves:", layout="wide")
# A refresh is not an event: nothing fades or spins because of it.
st.html(
    "<style>[data-stale='true'] {opacity: 1 !important; transition: none !important}"
    "[data-testid='stStatusWidget'] {visibility: hidden}"
    ".block-container {padding-top: 2.5rem}</style>"
)
try:
    page()
except TidemarkError as error:
    st.error(str(error), icon=":material/error:")
