"""What is filled into a form becomes a program's arguments, or is refused in words before there is a run."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError

from dags import forget, load_dimensions, rebuild_marts
from dags.dimension_sources import Source, read_sources
from dags.request import EVERY, BadRequest
from lake.errors import BadSettings

NOTHING = {"domain": "shop", "views": None, "from": None, "to": None}


def test_a_rebuild_of_everything_names_only_the_domain():
    assert rebuild_marts.rebuild_arguments("shop", {"params": NOTHING | {"domain": EVERY}}) == ["--domain", "shop"]


def test_a_rebuild_names_views_and_the_range():
    params = NOTHING | {"views": ["revenue", "visitors"], "from": "2026-11-21T09:00Z", "to": "2026-11-21T11:00+01:00"}
    assert rebuild_marts.rebuild_arguments("shop", {"params": params | {"to": "2026-11-21T12:00+01:00"}}) == [
        *("--domain", "shop", "--views", "revenue,visitors"),
        *("--from", "2026-11-21T09:00:00Z", "--to", "2026-11-21T11:00:00Z"),
    ]
    with pytest.raises(BadRequest, match=r"from=2026-11-21T10:00:00Z is not before to=2026-11-21T10:00:00Z; .*\[from"):
        rebuild_marts.rebuild_arguments("shop", {"params": params | {"from": "2026-11-21T10:00Z"}})
    with pytest.raises(BadRequest, match="views=revenue,visitors needs a domain"):
        rebuild_marts.rebuild_arguments("shop", {"params": params | {"domain": EVERY}})


def test_the_form_offers_the_views_and_dimensions_that_domains_declare():
    assert "revenue_by_country_hour" in rebuild_marts.dag.params.get_param("views").schema["examples"]
    assert set(load_dimensions.DIMENSIONS) < set(load_dimensions.dag.params.get_param("dimension").schema["enum"])


ERASURE = {"field": "user_id", "value": "u17", "reason": "-- asked on 1 May", "dry_run": True}


def test_an_erasure_is_a_dry_run_unless_that_is_taken_away():
    said = ["--domain", "shop", "--where=user_id=u17", "--reason=-- asked on 1 May"]
    assert forget.forget_arguments("shop", {"params": ERASURE}) == [*said, "--dry-run"]
    assert forget.forget_arguments("shop", {"params": ERASURE | {"dry_run": False}}) == said
    assert forget.dag.params.get_param("dry_run").resolve() is True
    before = forget.forget_arguments("shop", {"params": ERASURE | {"before": "2026-11-21T10:00+01:00"}})
    assert before == [*said, "--before=2026-11-21T09:00:00Z", "--dry-run"]


@pytest.mark.parametrize("name", ["domain", "field", "value", "reason"])
def test_an_erasure_says_whom_it_is_about_and_why(name):
    with pytest.raises(ParamValidationError):
        forget.dag.params.get_param(name).resolve()
    with pytest.raises(ParamValidationError):
        forget.dag.params.get_param(name).resolve("")


@pytest.mark.parametrize(
    "source",
    ["postgresql://me:pw@host/shop", "postgresql://me:p/w@host/shop", "postgresql://host/shop?user=me&password=pw"],
)
def test_a_source_with_a_password_is_refused_by_the_form_and_by_the_settings(source):
    param = load_dimensions.dag.params.get_param("source")
    with pytest.raises(ParamValidationError):
        param.resolve(source)
    with pytest.raises(BadSettings, match="the source of 'users' holds a password") as refused:
        read_sources(f"users={source}")
    assert "pw" not in str(refused.value) and "p/w" not in str(refused.value)


def test_sources_are_read_with_their_tables():
    text = "users=postgresql://me@host:5432/shop?sslmode=require#public.customers  plates=/data/plates.csv"
    assert read_sources(text) == {
        "users": Source("postgresql://me@host:5432/shop?sslmode=require", "public.customers"),
        "plates": Source("/data/plates.csv"),
    }
    assert read_sources("") == {}
    for wrong in ("users", "users=", "=/data/users.csv", "my-users=/data/users.csv"):
        with pytest.raises(BadSettings, match="write NAME=SOURCE"):
            read_sources(wrong)
    for source in read_sources(text).values():
        assert load_dimensions.dag.params.get_param("source").resolve(source.address) == source.address


def test_a_run_loads_every_dimension_with_a_source_or_the_one_that_was_chosen():
    sources = {"users": Source("/data/users.csv"), "plates": Source("/data/plates.csv")}
    asked = {"dimension": EVERY, "source": None, "table": None}
    assert load_dimensions.choose_names(sources, asked) == ["plates", "users"]
    assert load_dimensions.choose_names({}, asked | {"dimension": "users", "source": "/tmp/u.csv"}) == ["users"]
    with pytest.raises(BadRequest, match=r"no dimension has a source; .*TIDEMARK_DIMENSION_SOURCES"):
        load_dimensions.choose_names({}, asked)
    with pytest.raises(BadRequest, match="dimension=users has no source"):
        load_dimensions.choose_names({}, asked | {"dimension": "users"})
    with pytest.raises(BadRequest, match=r"source=/tmp/u.csv needs a dimension"):
        load_dimensions.choose_names(sources, asked | {"source": "/tmp/u.csv"})


def test_the_forms_source_wins_over_the_settings_and_brings_its_own_table(monkeypatch):
    monkeypatch.setenv("TIDEMARK_DIMENSION_SOURCES", "users=postgresql://me@host/shop#customers")
    asked = {"dimension": "users", "source": None, "table": None}
    load = ["dimension", "load", "users"]
    settings_own = [*load, "postgresql://me@host/shop", "--table", "customers"]
    assert load_dimensions.load_arguments("users", {"params": asked}) == settings_own
    file = asked | {"source": "/tmp/u.csv"}
    assert load_dimensions.load_arguments("users", {"params": file}) == [*load, "/tmp/u.csv"]
