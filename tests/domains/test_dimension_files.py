"""The invented dimension tables: seeded, in versions, and about what the events are about."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from lake.domain import load_domain
from lake.errors import BadDomain
from lake.settings import Settings
from streaming.events import dimension
from streaming.events.stream import Shares
from streaming.produce import GENERATORS

ROOT = Path(__file__).parents[2]
each_table = pytest.mark.parametrize(("name", "domain"), [("users", "shop"), ("watchlist", "plates")])


def rows(name: str, version: int, seed: int = 1) -> dict[str, dict[str, str]]:
    file = io.StringIO()
    dimension.write(name, seed, version, file)
    file.seek(0)
    read = list(csv.DictReader(file))
    found = {row["key"]: row for row in read}
    assert len(found) == len(read) > 0, "a key is there twice"
    return found


@each_table
def test_a_version_is_a_function_of_its_seed_and_the_next_changes_some_rows(name, domain):
    first, second = rows(name, 1), rows(name, 2)
    assert rows(name, 2) == second != rows(name, 2, seed=2)
    changed = {key for key in {*first, *second} if first.get(key) != second.get(key)}
    assert 0 < len(changed) < len(first) / 4
    assert rows(name, 3) not in (first, second)


@each_table
def test_a_table_has_the_columns_that_its_domain_declares_and_keys_that_events_have(name, domain):
    declared = load_domain(domain, Settings().domains_dir).dimensions[name]
    table = rows(name, 1)
    assert all(row.keys() >= {"key", *declared.columns} for row in table.values())
    events = islice(GENERATORS[domain](1, Shares(malformed=0), lambda: 1_795_000_000_000), 2_000)
    joined = sum(json.loads(value)[declared.on] in table for _, value, _ in events)
    assert joined > 20


def test_the_command_writes_the_file_that_was_asked_for(tmp_path):
    file = tmp_path / "watchlist.csv"
    command = [sys.executable, "-m", "streaming.events.dimension", "watchlist", "--version", "2", "--output", str(file)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert file.read_text().splitlines()[0] == "key,reason,owner_unit,since"
    assert len(file.read_text().splitlines()) == 1 + len(rows("watchlist", 2))


def test_a_dimension_that_nobody_can_invent_is_named_with_the_nearest():
    with pytest.raises(BadDomain, match="dimension 'user' has no generator; did you mean 'users'"):
        dimension.write("user", 1, 1, io.StringIO())
