"""The one page, which `python -m dashboard` serves. Wiring only; each panel is a module beside it.

Invariant: whatever Tidemark refuses is shown as its sentence, never as a traceback.
"""

from __future__ import annotations

import streamlit as st

from dashboard.sql_panel import show_sql
from dashboard.status import show_status
from dashboard.verify_panel import Verifier, show_report, show_verify
from dashboard.view_panel import show_view
from lake.errors import TidemarkError, explain
from lake.metrics import serve_metrics
from lake.registry import live_domains
from lake.settings import load_settings
from lake.sql import Prompt

REFRESH_SECONDS = 2
STEPS = [30, 60, 120, 360]


@st.cache_resource(show_spinner=False)
def connect() -> tuple[Prompt, dict[str, Verifier]]:
    """Once a process, shared by every visitor: the prompt with the domains' servings, their verifications."""
    settings = load_settings()
    serve_metrics(settings)  # `streamlit run` has not yet
    domains = live_domains(settings)
    prompt = Prompt(settings, domains)
    return prompt, {name: Verifier(settings, name, prompt) for name in domains}


@st.fragment(run_every=REFRESH_SECONDS)
def live(name: str, prompt: Prompt, verifier: Verifier, steps: int) -> None:
    """What changes by itself; also the version that is served. A view without an answer does not hide the others."""
    try:
        serving = prompt.serving(name)
    except TidemarkError as error:
        st.error(str(error), icon=":material/cloud_off:")
        return
    views, answers, missing = serving.domain.views, {}, []
    for view in views:
        try:
            answers[view] = serving.answer(view)
        except TidemarkError as error:
            missing.append(str(error))
    for sentence in dict.fromkeys(missing):
        st.error(sentence, icon=":material/cloud_off:")
    if not views:
        st.info("This domain declares no views; its events are in raw and feed other domains.")
    if answers:
        show_status(list(answers.values()), verifier.kept.now())
    for view, answer in answers.items():
        show_view(serving, views[view], answer, steps)
    show_report(verifier.last)


def page() -> None:
    prompt, verifiers = connect()
    with st.sidebar:
        st.markdown("# Tidemark")
        domain = prompt.serving(st.selectbox("Domain", list(verifiers), key="domain")).domain
        st.markdown(domain.description)
        if domain.owner:
            st.caption(f"Owner: {domain.owner}")
        steps = st.select_slider("Points of time in the charts", STEPS, STEPS[1], key="steps")
        st.divider()
        st.fragment(show_verify, run_every=REFRESH_SECONDS)(verifiers[domain.name])
    st.title(domain.name.replace("_", " ").capitalize(), anchor=False)
    live(domain.name, prompt, verifiers[domain.name], steps)
    show_sql(prompt, next(iter(domain.views), f"raw.{domain.name}"))


st.set_page_config(page_title="Tidemark", page_icon="🌊", layout="wide")
# A refresh is not an event: nothing fades or spins because of it.
st.html(
    "<style>[data-stale='true'] {opacity: 1 !important; transition: none !important}"
    "[data-testid='stExpander'] summary, [data-testid='stExpander'] summary * {color: #16242f !important}"
    "[data-testid='stStatusWidget'] {visibility: hidden}"
    ".block-container {padding-top: 2.5rem}</style>"
)
try:
    page()
except TidemarkError as error:
    st.error(str(error), icon=":material/error:")
except OSError as error:  # the lake, before there was an answer to hold
    st.error(explain(error), icon=":material/cloud_off:")
