"""Loading a dimension: what is refused, that a version never changes, and where it may come from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from lake.dimensions import Dimensions
from lake.errors import BadDimension
from tests.postgres import running_postgres

ROOT = Path(__file__).parents[2]
VISITS = Path(__file__).with_name("visits.yaml")
DECLARED = [{"country": "string", "discount": "decimal(5,2)"}]


@pytest.fixture(scope="module")
def shared(make_sandbox):
    return make_sandbox(VISITS, 2)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A dimension of this test alone."""
    return f"users_{abs(hash(request.node.name)) % 10**8}"


def users(**changes: list) -> pa.Table:
    return pa.table({"key": ["u1", "u2"], "country": ["DE", None], "discount": ["1.50", "0"]} | changes)


def test_versions_count_up_and_stay_as_they_were(shared, name) -> None:
    dimensions = Dimensions(shared.settings)
    assert dimensions.newest(name) == 0
    assert dimensions.load(name, users(), DECLARED) == 1
    assert dimensions.load(name, users(country=["FR", "IT"], tier=[1, 2]), DECLARED) == 2
    first, second = (dimensions.table(name, v).sort_by("key").to_pylist() for v in (1, 2))
    assert [row["country"] for row in first] == ["DE", None]
    assert [(row["country"], row["tier"]) for row in second] == [("FR", "1"), ("IT", "2")]
    assert dimensions.newest(name) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": ["u1", "u1"]}, "1 keys are there more than once, the first is 'u1'"),
        ({"key": ["u1", None]}, "1 rows have no key"),
        (
            {"discount": ["1.50", "cheap"]},
            r"1 values of 'discount' are no decimal\(5,2\), the first is 'cheap' of key 'u2'",
        ),
        ({"version": [1, 1]}, "'version' is given by the lake"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_is_written(shared, name, changes, said) -> None:
    with pytest.raises(BadDimension, match=said):
        Dimensions(shared.settings).load(name, users(**changes), DECLARED)
    assert Dimensions(shared.settings).newest(name) == 0


def test_a_missing_column_an_empty_table_and_an_unknown_version_are_told(shared, name) -> None:
    dimensions = Dimensions(shared.settings)
    with pytest.raises(BadDimension, match="column 'discount' is missing; did you mean 'discont'"):
        dimensions.load(name, pa.table({"key": ["a"], "country": ["DE"], "discont": ["1"]}), DECLARED)
    with pytest.raises(BadDimension, match="a column 'key' is needed, found id"):
        dimensions.load(name, pa.table({"id": ["a"]}), DECLARED)
    with pytest.raises(BadDimension, match="no rows"):
        dimensions.load(name, users().slice(0, 0), DECLARED)
    with pytest.raises(BadDimension, match="no version 3; none was ever loaded"):
        dimensions.table(name, 3)


def test_of_loads_at_the_same_time_each_gets_a_version_of_its_own_or_is_refused(shared, name) -> None:
    dimensions = Dimensions(shared.settings)
    dimensions.load(name, users(), DECLARED)

    def load(country: str) -> int | None:
        try:
            return dimensions.load(name, users(country=[country, country]), DECLARED)
        except BadDimension:
            return None

    countries = ["AT", "BE", "CH", "DK", "EE", "FI"]
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(load, countries))
    got = {v: c for v, c in zip(versions, countries, strict=True) if v}
    assert sorted(got) == list(range(2, 2 + len(got))) and got
    for version, country in got.items():
        assert dimensions.table(name, version)["country"].unique().to_pylist() == [country]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        server.psql("CREATE TABLE customers (key text, country text, discount numeric(5,2))")
        server.psql("INSERT INTO customers VALUES ('u1', 'DE', 2.25), ('u2', 'FR', NULL)")
        yield server.get_uri()


@pytest.fixture
def tidemark(make_sandbox) -> Callable[..., subprocess.CompletedProcess]:
    sandbox = make_sandbox(VISITS, 2)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "lake.cli", "dimension", *arguments]
        return subprocess.run(command, cwd=ROOT, env=sandbox.environment, capture_output=True, text=True, check=False)

    run.settings = sandbox.settings  # type: ignore[attr-defined]
    return run


def test_a_dimension_comes_from_postgres(tidemark, postgres: str) -> None:
    done = tidemark("load", "users", postgres, "--table", "customers", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) | {"domains": 0} == {"dimension": "users", "version": 1, "rows": 2, "domains": 0}
    rows = Dimensions(tidemark.settings).table("users", 1).sort_by("key").to_pylist()
    assert [(r["key"], r["country"], r["discount"]) for r in rows] == [("u1", "DE", "2.25"), ("u2", "FR", None)]
    missing = tidemark("load", "users", postgres, "--table", "clients")
    assert missing.returncode == 2 and "table clients cannot be read from Postgres" in missing.stderr


def test_what_a_person_types_wrong_is_told(tidemark, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("key,country,discount\nu1,DE,1.5\n")
    assert "did you mean 'users'?" in tidemark("load", "user", str(file)).stderr
    assert "there is no file" in tidemark("load", "users", "nowhere.csv").stderr
    (tmp_path / "users.txt").write_text("")
    assert "a dimension is read from .csv" in tidemark("load", "users", str(tmp_path / "users.txt")).stderr
    assert "version none yet" in tidemark("list").stdout
    assert tidemark("load", "users", str(file)).returncode == 0
    assert "version 1, joined by visits_" in tidemark("list").stdout
