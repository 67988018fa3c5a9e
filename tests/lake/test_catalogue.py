"""The catalogue: everything is in it, and a column's lineage is what its expression names, down to the topic."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lake.catalogue import Catalogue, owner
from lake.cli import app
from lake.domain import Domain, load_domains, read_domain
from lake.errors import TidemarkError
from lake.settings import Settings

CINEMA = {
    "domain": "cinema",
    "owner": "box office",
    "event_time": "at",
    "fields": {
        "at": {"type": "timestamp_ms", "required": True},
        "film": {"type": "string", "required": True, "description": "its title"},
        "genres": {"type": "list(string)"},
        "price": {"type": "decimal(6,2)", "unit": "EUR", "min": 0},
        "seat": {"type": "string"},
        "house": {"type": "string", "values": ["north", "south"]},
    },
    "dimensions": {"houses": {"on": "house", "columns": {"city": "string"}, "owner": "estates"}},
    "views": {
        "sales": {
            "description": "What was sold.",
            "each": {"genre": "genres"},
            "where": "seat IS NOT NULL",
            "group_by": {"genre": "lower(genre)", "city": "houses.city"},
            "measures": {
                "takings": {"sum": "price"},
                "tickets": "count",
                "prices": {"quantiles": {"of": "price", "at": [0.5, 0.9]}},
            },
            "values": {"mean": "takings / tickets", "twice": "mean * 2"},
            "having": "tickets > 1",
            "units": {"tickets": "tickets", "mean": "EUR"},
        },
        "cities": {
            "over": "sales",
            "owner": "estates",
            "group_by": {"city": "city"},
            "measures": {"best": {"max": "mean"}, "genres": "count"},
            "order_by": ["best desc"],
            "limit": 3,
        },
    },
}


@pytest.fixture(scope="module")
def cinema() -> Domain:
    return read_domain(CINEMA, "cinema.yaml")


@pytest.fixture(scope="module")
def catalogue(cinema: Domain) -> Catalogue:
    return Catalogue([cinema])


def test_every_domain_dimension_view_and_column_is_there(cinema: Domain, catalogue: Catalogue) -> None:
    assert list(catalogue.entries) == ["cinema", "cinema.houses", "sales", "cities"]
    assert [c.name for c in catalogue.entry("cinema").columns] == [*cinema.fields, "append_time"]
    assert [c.name for c in catalogue.entry("cinema.houses").columns] == ["city"]
    for name, view in cinema.views.items():
        assert [c.name for c in catalogue.entry(name).columns] == view.value_columns()


def test_owners_units_types_and_descriptions_are_those_of_the_file(catalogue: Catalogue) -> None:
    owners = {name: entry.owner for name, entry in catalogue.entries.items()}
    assert owners == {"cinema": "box office", "cinema.houses": "estates", "sales": "box office", "cities": "estates"}
    sales = catalogue.entry("sales")
    assert {c.name: (c.type, c.unit) for c in sales.columns} == {
        "genre": ("VARCHAR", ""),
        "city": ("VARCHAR", ""),
        "takings": ("DECIMAL(38,2)", "EUR"),
        "tickets": ("BIGINT", "tickets"),
        "prices_p50": ("DOUBLE", "EUR"),
        "prices_p90": ("DOUBLE", "EUR"),
        "mean": ("DOUBLE", "EUR"),
        "twice": ("DOUBLE", ""),
    }
    assert catalogue.entry("cities").column("best").unit == "EUR"
    assert catalogue.entry("cinema").column("film").comment == "its title; required field"
    assert catalogue.entry("cinema").column("house").comment == "field one of north, south"
    assert catalogue.entry("cinema").column("price").comment == "in EUR; field >= 0"
    assert sales.rows == "for each genre in genres; where seat IS NOT NULL; having tickets > 1"


def test_lineage_goes_down_to_fields_dimensions_and_the_topic(catalogue: Catalogue) -> None:
    def origins(view: str, column: str) -> list[str]:
        entry = catalogue.entry(view)
        return catalogue.origins(entry, entry.column(column))

    assert origins("sales", "genre") == ["cinema.genres", "topic cinema"]
    assert origins("sales", "city") == ["cinema.houses.city", "topic cinema"]
    assert origins("sales", "twice") == ["cinema.price", "topic cinema"]
    assert origins("cities", "best") == ["cinema.price", "topic cinema"]
    assert origins("cities", "genres") == ["topic cinema"]
    assert catalogue.entry("cities").column("best").made_from == ("sales.mean",)


def test_what_a_change_would_touch_is_all_that_is_made_from_it_and_nothing_else(catalogue: Catalogue) -> None:
    assert set(catalogue.users("cinema.price")) == {
        *("sales.takings", "sales.prices_p50", "sales.prices_p90", "sales.mean", "sales.twice", "cities.best")
    }
    assert catalogue.users("cinema.seat") == ["rows of sales"]
    assert catalogue.users("cinema.house") == ["rows of cinema.houses"]
    assert catalogue.users("cinema.film") == []


def test_a_name_that_is_not_there_is_answered_with_the_nearest(cinema: Domain, catalogue: Catalogue) -> None:
    with pytest.raises(TidemarkError, match="'sale'; did you mean 'sales'"):
        catalogue.entry("sale")
    with pytest.raises(TidemarkError, match="view 'sales' has no column 'taking'; did you mean 'takings'"):
        catalogue.entry("sales").column("taking")
    with pytest.raises(TidemarkError, match="no domain has a view 'city'; did you mean 'cities'"):
        owner({"cinema": cinema}, "city")
    assert owner({"cinema": cinema}, "cities") is cinema


def test_the_tables_of_the_catalogue_hold_the_same(catalogue: Catalogue) -> None:
    tables = catalogue.tables()
    assert {name: len(table) for name, table in tables.items()} == {
        "domains": 1,
        "dimensions": 1,
        "views": 2,
        "columns": sum(len(entry.columns) for entry in catalogue.entries.values()),
    }
    [twice] = [row for row in tables["columns"].to_pylist() if row["name"] == "twice"]
    assert (twice["in"], twice["made_from"], twice["origins"]) == (
        "sales",
        ["sales.mean"],
        ["cinema.price", "topic cinema"],
    )


def test_the_shipped_domains_have_an_owner_and_say_what_they_are() -> None:
    entries = Catalogue(load_domains(Settings().domains_dir).values()).entries.values()
    assert len(entries) > 2
    assert [entry.name for entry in entries if not entry.owner or not entry.description] == []


def test_the_command_prints_an_entry_a_column_and_json() -> None:
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["catalog", *arguments])
        assert result.exit_code == 0, result
        return result.stdout

    assert "sum(amount)" in said("revenue_by_country_hour")
    column = json.loads(said("revenue_by_country_hour.revenue", "--json"))
    assert (column["unit"], column["origins"]) == ("EUR", ["shop.amount", "topic shop"])
    names = {entry["name"] for entry in json.loads(said("--json"))["entries"]}
    assert {"shop", "revenue_by_country_hour"} <= names
