"""What was probably meant is suggested, and nothing else is."""

from __future__ import annotations

import pytest

from lake.expressions import ALLOWED_FUNCTIONS, closest
from lake.measures import MEASURES


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("now", ALLOWED_FUNCTIONS, None),
        ("regexp", ALLOWED_FUNCTIONS, None),
        ("to_char", ALLOWED_FUNCTIONS, None),
        ("array_agg", ALLOWED_FUNCTIONS, None),
        ("date_trnc", ALLOWED_FUNCTIONS, "date_trunc"),
        ("median", MEASURES, None),
        ("std", MEASURES, None),
        ("smu", MEASURES, "sum"),
        ("SUM", MEASURES, "sum"),
        ("count_distinct", MEASURES, "distinct"),
        ("city", ["cities", "countries"], "cities"),
        ("kk", ["of", "k"], "k"),
        ("revenue", ["Revenue", "orders"], "Revenue"),
        ("a", ["b"], None),
    ],
)
def test_only_what_is_close_enough_is_suggested(name, known, meant) -> None:
    assert closest(name, known) == meant
