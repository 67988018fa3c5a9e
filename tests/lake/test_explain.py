"""How a view is computed, told from its definition: groupings, what is stored, and the kernel's own SQL."""

from __future__ import annotations

import json
import re

import duckdb
import pytest
from typer.testing import CliRunner

from lake.cli import app
from lake.domain import Domain, load_domains, read_domain
from lake.errors import TidemarkError
from lake.explain import BY_KEY, ROUND_ROBIN, STAYS, TO_ALL, TO_ONE, Explanation, explain
from lake.kernel import Kernel
from lake.settings import Settings
from lake.sql_text import layout
from tests.lake.test_catalogue import CINEMA

TOTAL = {"measures": {"tickets": "count"}}
DEDUP = {"key": "seat", "segments": 6}


@pytest.fixture(scope="module")
def cinema() -> Domain:
    views = {**CINEMA["views"], "total": TOTAL}
    return read_domain({**CINEMA, "views": views, "dedup": DEDUP}, "cinema.yaml")


def groupings(told: Explanation) -> dict[str, tuple[str | None, str | None]]:
    return {part.name: (part.batch, part.speed) for part in told.parts}


def test_each_part_of_a_view_with_keys_says_its_grouping_in_both_layers(cinema: Domain) -> None:
    assert groupings(explain(cinema, "sales")) == {
        "read": (ROUND_ROBIN, BY_KEY),
        "parse": (STAYS, STAYS),
        "duplicates": (BY_KEY, STAYS),
        "dimension houses": (TO_ALL, TO_ALL),
        "aggregate": (STAYS, STAYS),
        "merge": (BY_KEY, BY_KEY),
        "serve": (TO_ONE, TO_ONE),
        "show": (TO_ONE, TO_ONE),
    }
    [merge] = [part for part in explain(cinema, "sales").parts if part.name == "merge"]
    assert merge.batch_how == "genre, city"


def test_a_view_without_keys_is_merged_to_one_and_needs_no_dimension_nor_show(cinema: Domain) -> None:
    told = groupings(explain(cinema, "total"))
    assert told["merge"] == (TO_ONE, BY_KEY)
    assert not {"dimension houses", "show"} & told.keys()


def test_a_view_over_another_is_stored_as_that_one_and_computed_at_read(cinema: Domain) -> None:
    over, below = explain(cinema, "cities"), explain(cinema, "sales")
    assert over.stored_view == "sales"
    assert (over.definition_hash, over.stored) == (below.definition_hash, below.stored)
    assert list(over.at_read) == ["city", "best", "genres"]
    assert groupings(over)["over sales"] == (TO_ONE, TO_ONE)
    assert list(over.sql) == [
        *("parse", "aggregate", "merge", "present"),
        *("aggregate cities", "present cities", "show cities"),
    ]


def test_what_is_stored_are_keys_and_states_and_values_are_computed_at_read(cinema: Domain) -> None:
    told = explain(cinema, "sales")
    assert list(told.stored) == ["genre", "city", "takings", "tickets", "prices"]
    assert told.keys == ["genre", "city"]
    assert list(told.at_read) == ["takings", "tickets", "prices_p50", "prices_p90", "mean", "twice"]


def test_a_view_that_is_not_there_is_answered_with_the_nearest(cinema: Domain) -> None:
    with pytest.raises(TidemarkError, match="has no view 'sale'; did you mean 'sales'"):
        explain(cinema, "sale")


def tree(sql: str) -> str | None:
    with duckdb.connect() as db:
        [[text]] = db.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    return None if json.loads(text)["error"] else re.sub(r'"query_location(_length)?":\d+', "", text)


def test_laying_out_changes_no_statement_of_any_shipped_view() -> None:
    statements = 0
    for domain in load_domains(Settings().domains_dir).values():
        kernel = Kernel(domain)
        for view in domain.views:
            for step, sql in kernel.sql(view).items():
                assert tree(sql) is not None, (view, step)
                assert tree(layout(sql)) == tree(sql), (view, step)
                statements += 1
    assert statements > 8


@pytest.mark.parametrize(
    ("sql", "laid_out"),
    [
        ("SELECT a,b FROM t WHERE x = 1", "SELECT a,b\nFROM t\nWHERE x = 1"),
        ("SELECT list(a ORDER BY b) FROM (SELECT 1)", "SELECT list(a ORDER BY b)\nFROM (\n  SELECT 1\n)"),
        ("SELECT ' FROM  (SELECT', \"a  WHERE\"", "SELECT ' FROM  (SELECT', \"a  WHERE\""),
        (
            "WITH a AS (SELECT 1), b AS (SELECT 2) SELECT 3",
            "WITH a AS (\n  SELECT 1\n),\nb AS (\n  SELECT 2\n)\nSELECT 3",
        ),
    ],
)
def test_clauses_get_lines_of_their_own_and_strings_are_left_alone(sql: str, laid_out: str) -> None:
    assert layout(sql) == laid_out


def test_the_command_prints_groupings_hash_and_sql() -> None:
    result = CliRunner().invoke(app, ["explain", "revenue_by_country_hour"])
    assert result.exit_code == 0, result
    for text in (BY_KEY, ROUND_ROBIN, "-- aggregate", 'GROUP BY "country", "hour"'):
        assert text in result.stdout
    told = json.loads(CliRunner().invoke(app, ["explain", "revenue_by_country_hour", "--json"]).stdout)
    assert told["definition_hash"] in result.stdout
    assert isinstance(CliRunner().invoke(app, ["explain", "revenue"]).exception, TidemarkError)
