"""The direction of imports: everything may import lake, lake imports no engine, and the layers never each other."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("jobs", "streaming", "dags", "dashboard", "local")
ENGINES = {"pyspark", "delta", "apache_beam", "airflow", "streamlit", "supervisor"}


def imports(folder: str) -> dict[Path, set[str]]:
    """Top-level names that each module imports, wherever in the module it does."""
    found: dict[Path, set[str]] = {}
    for path in (ROOT / folder).rglob("*.py"):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        found[path] = names
    return found


def test_lake_imports_no_layer_and_no_engine() -> None:
    modules = imports("lake")
    assert len(modules) > 10
    for path, names in modules.items():
        assert not names & {*LAYERS, *ENGINES}, path


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_lake_and_no_other_layer(layer: str) -> None:
    modules = imports(layer)
    assert modules
    for path, names in modules.items():
        assert not names & ({*LAYERS} - {layer}), path


@pytest.mark.parametrize("folder", ["lake", *LAYERS])
def test_every_module_says_what_it_is_for(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_what_lake_imports_is_in_every_environment() -> None:
    """Each image has the extras of its role alone, and lake beneath them."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    packages = {re.split(r"[=<>\[]", each)[0].replace("-", "_") for each in declared}
    named_otherwise = {"kafka": "kafka_python", "yaml": "pyyaml"}
    found = set().union(*imports("lake").values()) - sys.stdlib_module_names - {"lake"}
    assert len(found) > 10
    assert {named_otherwise.get(name, name) for name in found} <= packages
