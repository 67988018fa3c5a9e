"""The prompt: layers add up, external data joins, and every table says what it is."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lake.domain import load_domain
from lake.errors import BadExternal, TidemarkError
from lake.external import External
from lake.settings import Settings
from lake.sql import Prompt
from tests.jobs.landed import Landed
from tests.lake.served import Served, orders

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
VIEW = "revenue_by_country_hour"


@pytest.fixture(scope="module")
def sent() -> list[dict]:
    source = random.Random(5)
    return [*orders(source, NINE - timedelta(minutes=30), 50), *orders(source, NINE + timedelta(minutes=5), 30)]


@pytest.fixture(scope="module")
def prompt(make_sandbox, sent: list[dict]) -> Prompt:
    sandbox = make_sandbox()
    landed = Landed(sandbox.settings, sandbox.domain)
    values = [json.dumps(event).encode() for event in sent]
    landed.values(NINE - timedelta(minutes=30), [*values[:50], b"no event"])
    landed.seal(NINE)
    landed.values(NINE + timedelta(minutes=5), values[50:])
    Served(sandbox, landed, NINE)
    return Prompt(sandbox.settings, {sandbox.domain.name: sandbox.domain})


@pytest.fixture
def external(prompt: Prompt) -> External:
    return External(prompt._settings)


def total(events: list[dict]) -> tuple[Decimal, int]:
    return sum((Decimal(event["amount"]) for event in events), Decimal(0)), len(events)


def test_merged_is_marts_and_speed_together(prompt: Prompt, sent: list[dict]) -> None:
    found = {}
    for schema in ("", "marts.", "speed."):
        [row] = prompt.query(f"SELECT sum(revenue) AS r, sum(orders) AS n FROM {schema}{VIEW}").to_pylist()
        found[schema] = (row["r"], row["n"])
    assert found == {"": total(sent), "marts.": total(sent[:50]), "speed.": total(sent[50:])}


def test_a_view_over_another_stands_in_each_layer_alone_too(prompt: Prompt, sent: list[dict]) -> None:
    over = prompt.query("SELECT * FROM logged_in_by_country, marts.logged_in_by_country, speed.logged_in_by_country")
    assert over.num_rows == 0 and "users" in over.column_names
    [row] = prompt.query("SELECT count(*) AS n FROM last_login_by_user").to_pylist()
    assert row["n"] == 0 < len(sent)


def test_external_data_is_joined_with_a_merged_view_in_any_version(prompt, external, sent, tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    path.write_text("country,region\nDE,north\n")
    external.add("regions", str(path))
    path.write_text("country,region\nDE,centre\nFR,centre\n")
    external.add("regions", str(path))

    def by_region(table: str) -> dict[str, int]:
        sql = f"SELECT region, sum(orders) AS n FROM {VIEW} JOIN {table} USING (country) GROUP BY region"
        return {row["region"]: row["n"] for row in prompt.query(sql).to_pylist()}

    def sold(*countries: str) -> int:
        return sum(event["country"] in countries for event in sent)

    [row] = prompt.query("SELECT count(external.regions.region) AS n FROM external.regions").to_pylist()
    assert row["n"] == 2
    assert by_region("external.regions") == {"centre": sold("DE", "FR")}
    assert by_region('external."regions@1"') == {"north": sold("DE")}
    assert by_region('EXTERNAL."regions@2"') == {"centre": sold("DE", "FR")}
    with pytest.raises(BadExternal, match="no external data 'region'; did you mean 'regions'"):
        by_region("external.region")
    with pytest.raises(BadExternal, match=r"has no version 3; known: \[1, 2\]"):
        by_region('external."regions@3"')


def test_every_table_and_column_has_a_comment(prompt: Prompt) -> None:
    columns = prompt.query(
        "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).to_pylist()
    views = {column["table_name"] for column in columns if column["schema_name"] == "main"}
    assert views == set(next(iter(prompt._domains.values())).views)
    assert {column["schema_name"] for column in columns} == {"main", "marts", "speed", "raw", "quarantine", "catalog"}
    assert [column for column in columns if not column["comment"]] == []
    said = {(c["schema_name"], c["table_name"], c["column_name"]): c["comment"] for c in columns}
    assert said[("speed", VIEW, "revenue")] == "in EUR; measure sum(amount)"
    tables = prompt.query("SELECT schema_name, table_name, comment FROM duckdb_tables()").to_pylist()
    assert {".".join((t["schema_name"], t["table_name"])).removeprefix("main.") for t in tables} == set(prompt.tables)
    assert [table for table in tables if not table["comment"]] == []


def test_the_catalogue_is_asked_like_any_table(prompt: Prompt) -> None:
    sql = f"SELECT name, unit, origins FROM catalog.columns WHERE \"in\" = '{VIEW}' AND kind = 'measure' ORDER BY name"
    domain = next(iter(prompt._domains))
    assert prompt.query(sql).to_pylist() == [
        {"name": "orders", "unit": "orders", "origins": [f"topic {domain}"]},
        {"name": "revenue", "unit": "EUR", "origins": [f"{domain}.amount", f"topic {domain}"]},
    ]
    [count] = prompt.query("SELECT count(*) AS n FROM catalog.views, catalog.domains, catalog.dimensions").to_pylist()
    assert count["n"] == len(prompt._domains[domain].views)


def test_raw_and_quarantine_are_asked_by_domain(prompt: Prompt, sent: list[dict]) -> None:
    domain = next(iter(prompt._domains))
    partitions = prompt._domains[domain].partitions
    [row] = prompt.query(f"SELECT count(*) AS n FROM raw.{domain}").to_pylist()
    assert row["n"] == len(sent) + 1 + partitions
    [row] = prompt.query(f"SELECT reason, value FROM quarantine.{domain}").to_pylist()
    assert (row["reason"], row["value"]) == ("bad_json", b"no event")


def test_what_is_no_query_or_names_no_table_is_told(prompt: Prompt) -> None:
    with pytest.raises(TidemarkError, match=r"(?s)does not exist.*tables: .*catalog.columns"):
        prompt.query("SELECT * FROM revenues")
    with pytest.raises(TidemarkError, match="not a query that returns rows"):
        prompt.query("SELEC 1")
    with pytest.raises(TidemarkError):
        prompt.query("SELECT * FROM read_csv('/etc/passwd')")


def test_a_name_in_a_string_and_a_question_about_tables_ask_nothing_of_lake_and_store() -> None:
    away = Settings(s3_endpoint="http://127.0.0.1:1", store_url="redis://127.0.0.1:1/0")
    offline = Prompt(away, {"shop": load_domain("shop", away.domains_dir)})
    assert offline.query(f"SELECT '{VIEW}' AS name").to_pylist() == [{"name": VIEW}]
    assert VIEW in offline.query("SELECT table_name FROM duckdb_tables()")["table_name"].to_pylist()
