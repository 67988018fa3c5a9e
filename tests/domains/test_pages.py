"""The pages of the shipped domains: complete, and every query on them answers."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from lake.domain import Domain, load_domain
from lake.kernel import QUARANTINE, Kernel
from lake.settings import Settings
from streaming.produce import GENERATORS
from tests.domains.generated import generate
from tests.reference import DOMAINS
from tests.reference.events import moment

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in Settings().domains_dir.glob("*.yaml"))
_QUERY = re.compile(r"```sql\n(.*?)```", re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / "domains" / f"{name}.md").read_text()


@pytest.fixture(params=SHIPPED)
def domain(request) -> Domain:
    return load_domain(request.param, Settings().domains_dir)


def test_every_shipped_domain_has_a_generator_and_a_reference_of_every_view(domain):
    assert domain.name in GENERATORS
    assert set(DOMAINS[domain.name].ROWS) == set(domain.views)
    assert set(DOMAINS[domain.name].STATES) == set(domain.stored_views)


def test_everything_that_is_declared_says_what_it_is_and_whose(domain):
    for part in (domain, *domain.dimensions.values(), *domain.views.values()):
        assert part.description and part.owner, part
    for name, field in domain.fields.items():
        assert field.description, name
    kernel = Kernel(domain)
    for view in domain.views.values():
        numbers = {
            field.name
            for field in kernel.present(view.name, kernel.schema(kernel.stored(view.name)).empty_table()).schema
            if str(field.type).startswith(("int", "decimal")) and field.name not in view.group_by
        }
        assert numbers <= set(view.units), view.name


def test_a_page_names_every_view_field_and_dimension(domain):
    text = page(domain.name)
    for name in (*domain.views, *domain.fields, *domain.dimensions):
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(("name", "query"), [(name, query) for name in SHIPPED for query in _QUERY.findall(page(name))])
def test_a_query_on_a_page_has_rows(lake, name, query):
    assert len(lake(name).sql(query).fetchall()) > 0


@pytest.fixture(scope="module")
def lake():
    """lake(domain): a connection with the domain's views and quarantine, filled with invented events."""
    connections: dict[str, duckdb.DuckDBPyConnection] = {}

    def connect(name: str) -> duckdb.DuckDBPyConnection:
        if name not in connections:
            generated = generate(name, 1)
            kernel = generated.kernel()
            generated.parse(kernel, generated.rows)
            states = kernel.aggregate()
            db = connections[name] = duckdb.connect()
            for view in generated.domain.views:
                db.register("shown", kernel.shown(view, kernel.present(view, states[kernel.stored(view)]), moment(0)))
                db.execute(f"CREATE TABLE {view} AS FROM shown")
            db.register("bad", kernel.present(QUARANTINE, states[QUARANTINE]))
            db.execute(f"CREATE SCHEMA quarantine; CREATE TABLE quarantine.{name} AS FROM bad")
        return connections[name]

    return connect
