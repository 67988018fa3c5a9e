"""The verdict that is kept: green only while it is good, and no old one stands in for none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import kept_panel
from dashboard.kept_panel import Kept, KeptVerification
from lake.settings import Settings
from lake.verifications import Verification

PROBLEMS = ("sales: 1 rows differ of 2", "b", "c", "d", "e")


def _verification(hours: float, **changes: object) -> Verification:
    at = datetime.now(UTC) - timedelta(hours=hours)
    return Verification(**{"domain": "shop", "at": at, "seconds": 4.2, "ok": True, "rows_compared": 9, **changes})


def _page(kept):  # runs by itself: its text is what the page is made of
    from dashboard.kept_panel import show_badge, show_kept

    show_badge(kept)
    show_kept(kept)


@pytest.mark.parametrize(
    ("kept", "badge", "colour", "red"),
    [
        (Kept(None), "Never verified", "gray", []),
        (Kept(None, "the lake is away"), "Verifications cannot be read", "orange", ["the lake is away"]),
        (Kept(_verification(5)), "Exact, verified 5 h ago", "green", []),
        (Kept(_verification(72)), "Exact, verified 3 days ago", "orange", []),
        (Kept(_verification(5, ok=False, problems=PROBLEMS)), "Not exact, verified 5 h ago", "red", [*PROBLEMS[:3]]),
        (Kept(_verification(5, ok=False, problems=("x",), rows_compared=0)), "Not known to be exact", "red", ["x"]),
    ],
)
def test_the_badge_has_the_colour_of_the_verdict_and_problems_are_in_red(kept, badge, colour, red) -> None:
    page = AppTest.from_function(_page, args=(kept,)).run()
    assert not page.exception
    told = page.markdown[0].value
    assert badge in told and f":{colour}-badge[" in told
    assert [error.value for error in page.error][: len(red)] == red
    assert bool(page.success) == bool(kept.newest and kept.newest.ok)
    if len(red) == 3:
        assert page.error[3].value.startswith("... and 2 more")


def test_the_lake_is_asked_again_only_after_a_while(monkeypatch) -> None:
    asked = []
    newest = _verification(1)
    clock = [100.0]
    monkeypatch.setattr(kept_panel.time, "monotonic", lambda: clock[0])
    kept = KeptVerification(Settings(), "shop")
    monkeypatch.setattr(kept, "_look", lambda: asked.append(clock[0]) or Kept(newest))
    for seconds in (0, 1, 8, 2, 9.5, 1):
        clock[0] += seconds
        assert kept.now().newest == newest
    assert asked == [100, 111, 121.5]
