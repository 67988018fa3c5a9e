"""Which domains a stack runs is chosen by name, and what the demo asks of each is a question that its views answer."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import yaml

from lake.domain import load_domain
from lake.errors import BadSettings
from lake.kernel import Kernel
from lake.settings import Settings
from local.errors import PartFailed
from local.ports import Ports
from local.showcase import SHOWCASE, chosen_domains, routed_domains
from local.stack import Stack
from local.tools import Tools

SETTINGS = Settings()


def test_all_domains_are_those_that_have_a_file_the_demos_first() -> None:
    files = {path.stem for path in SETTINGS.domains_dir.glob("*.yaml")}
    chosen = chosen_domains(SETTINGS, "all")
    assert set(chosen) == files >= {*SHOWCASE}
    assert chosen[: len(SHOWCASE)] == [*SHOWCASE]
    assert chosen_domains(SETTINGS, "stocks, shop,stocks") == ["shop", "stocks"]


def test_a_domain_that_has_no_file_is_answered_with_the_nearest_that_has() -> None:
    with pytest.raises(BadSettings, match=r"'stock' is no domain of .*did you mean 'stocks'"):
        chosen_domains(SETTINGS, "shop,stock")


def _declare(folder: Path, name: str, *sources: str) -> None:
    fields = {"at": {"type": "timestamp_ms", "required": True}}
    declared = {"domain": name, "event_time": "at", "fields": fields}
    declared |= {"sources": [{"domain": source} for source in sources]}
    declared |= {"views": {f"all_of_{name}": {"measures": {"events": "count"}}}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(declared))


def test_a_domain_that_others_feed_is_routed_and_does_not_run_without_them(tmp_path: Path) -> None:
    for name, *sources in (("left",), ("right",), ("merged", "left", "right")):
        _declare(tmp_path, name, *sources)
    settings = Settings(domains_dir=tmp_path)
    assert routed_domains(settings, ["left", "right", "merged"]) == ["merged"]
    assert routed_domains(settings, ["left"]) == []
    with pytest.raises(BadSettings, match="domain 'merged' is fed by right: run that, too"):
        routed_domains(settings, ["left", "merged"])


def test_a_stack_has_one_lander_and_one_speed_layer_for_all_domains_and_a_producer_for_each(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = tmp_path / "domains"
    domains.mkdir()
    for name, *sources in (("shop",), ("own",), ("merged", "shop", "own")):
        _declare(domains, name, *sources)
    monkeypatch.setenv("TIDEMARK_DOMAINS_DIR", str(domains))
    stack = Stack(tmp_path / "home", tools)
    stack.configure(Ports.free(), segment_seconds=10, domains="all")
    parts = stack.parts()
    every = ["--domain", "shop", "--domain", "merged", "--domain", "own"]
    assert stack.domains == every[1::2] and stack.settings().runs("own") and not stack.settings().runs("stocks")
    assert parts["lander"].command[-8:] == ["-m", "streaming.land", *every]
    assert parts["speed"].command[-8:] == ["-m", "streaming.speed", *every]
    assert parts["router"].command[-4:] == ["-m", "streaming.route", "--domain", "merged"]
    assert [name for name in parts if name.startswith("producer")] == ["producer-shop"]
    stack.configure(Ports.free(), segment_seconds=10, domains="own")
    assert stack.domains == ["own"] and "router" not in stack.parts()


def test_a_stack_that_runs_other_domains_is_not_changed_under_them(stack: Stack) -> None:
    before = stack.variables()
    with pytest.raises(PartFailed, match="runs no domain, not shop: `tidemark down` first"):
        stack.configure(Ports.free(), segment_seconds=10, domains="shop")
    assert stack.variables() == before


@pytest.mark.parametrize("name", SHOWCASE)
def test_the_demos_question_is_one_that_the_domains_views_answer(name: str) -> None:
    domain = load_domain(name, SETTINGS.domains_dir)
    kernel = Kernel(domain)
    with duckdb.connect() as db:
        for view in domain.views:
            empty = kernel.present(view, kernel.schema(kernel.stored(view)).empty_table())
            db.register("empty", empty)
            for schema in ("main", "marts", "speed"):
                db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                db.execute(f"CREATE TABLE {schema}.{view} AS FROM empty")
        assert db.sql(SHOWCASE[name].question).columns
    assert SHOWCASE[name].dimension in {None, *domain.dimensions}
