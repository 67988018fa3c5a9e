"""Tiles computed anew: each under its own cuts, views that have the same tile together, and what was wrong is told."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import rebuild_marts
from jobs.build_mart import Build
from jobs.rebuild_marts import rebuild
from jobs.state_hashes import digest, hash_rows
from lake.cuts import EPOCH, format_time
from lake.errors import TidemarkError, TileRefused
from lake.kernel import QUARANTINE, Kernel
from lake.marts import TILE, mart_uri
from lake.tables import data_files, filesystem, open_table, read_file
from tests.jobs.conftest import NINE
from tests.jobs.golden import golden, snapshot, stored
from tests.jobs.landed import Landed

TEN = NINE + timedelta(hours=1)
REVENUE, FUNNEL = "revenue_by_country_hour", "funnel_by_hour"
VIEWS = [REVENUE, QUARANTINE, FUNNEL]


class Killed(BaseException):
    """The end of a run at what it said last."""


@pytest.fixture(scope="module")
def built(make_sandbox, spark):
    """Two hours: a tile each of two views, and one tile of both hours of a third."""
    sandbox = make_sandbox()
    landed = Landed(sandbox.settings, sandbox.domain)
    for hour in (NINE, TEN):
        landed.events(hour - timedelta(minutes=59), 3400, 300)
        landed.seal(hour)
        Build(sandbox.settings, sandbox.domain, hour, print).run([REVENUE, QUARANTINE], None)
    Build(sandbox.settings, sandbox.domain, TEN, print).run([FUNNEL], None)
    return sandbox


def _spans(built) -> dict[str, list[str]]:
    return {view: [tile.span for tile in snapshot(built.settings, built.domain, view).tiles] for view in VIEWS}


def _equal_raw(built) -> bool:
    return stored(built.settings, built.domain, VIEWS) == golden(built.settings, built.domain, TEN, VIEWS)


def _add_an_order(built, tile: str) -> int:
    """Change the mart as nobody should: one order more in every row of the tile; how many rows that are."""
    uri = mart_uri(built.settings, built.domain.name, REVENUE, Kernel(built.domain).definition_hash(REVENUE))
    [file] = [f["path"] for f in data_files(open_table(built.settings, uri)) if f[f"partition.{TILE}"] == tile]
    rows = read_file(built.settings, uri, file, None)
    orders = rows["orders"].to_pylist()
    more = pa.array([n and n + 1 for n in orders], pa.int64())
    path = f"{uri}/{file}".removeprefix("s3://")
    changed = rows.set_column(rows.column_names.index("orders"), "orders", more)
    pq.write_table(changed, path, filesystem=filesystem(built.settings))
    return sum(1 for n in orders if n)


def test_every_tile_is_replaced_as_it_is_and_equal_ones_are_read_together(built) -> None:
    spans, said = _spans(built), []
    done = rebuild(built.settings, built.domain, VIEWS, EPOCH, None, said.append)
    assert [line.split(":")[0] for line in said if line.startswith("tile ")] == [f"tile {n} of 3" for n in (1, 2, 3)]
    assert sum(line.startswith("reading [") for line in said) == 3
    told = [(tile.view, tile.t0, tile.t1) for tile in done.tiles]
    eight, nine, ten = map(format_time, (EPOCH, NINE, TEN))
    hours = [(view, *times) for times in ((eight, nine), (nine, ten)) for view in (REVENUE, QUARANTINE)]
    assert sorted(told) == sorted([*hours, (FUNNEL, eight, ten)])
    assert (done.changed, done.refused) == (0, [])
    assert _spans(built) == spans and _equal_raw(built)
    [funnel] = [tile for tile in done.tiles if tile.view == FUNNEL]
    states = snapshot(built.settings, built.domain, FUNNEL).states[0]
    assert (funnel.rows, funnel.digest) == (len(states), digest(np.sort(hash_rows(states))))


def test_a_tile_that_was_wrong_is_told_and_right_afterwards_also_after_a_kill(built, monkeypatch, capsys) -> None:
    wrong = _add_an_order(built, format_time(NINE))
    assert wrong and not _equal_raw(built)

    def kill_at_the_last(line: str) -> None:
        if line.startswith("tile 2 of 2"):
            raise Killed

    with pytest.raises(Killed):
        rebuild(built.settings, built.domain, [REVENUE], EPOCH, None, kill_at_the_last)
    assert not _equal_raw(built)
    for name, value in built.environment.items():
        monkeypatch.setenv(name, value)
    command = ["rebuild_marts", "--domain", built.domain.name, "--views", REVENUE, "--json"]
    monkeypatch.setattr(sys, "argv", command)
    rebuild_marts.main()
    out, errors = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert (told["domain"], len(told["tiles"]), told["changed"], told["refused"]) == (built.domain.name, 2, 1, [])
    [tile] = [tile for tile in told["tiles"] if tile["differing"]]
    assert (tile["t0"], tile["t1"], tile["differing"]) == (format_time(NINE), format_time(TEN), wrong)
    assert f"{REVENUE} [2026-11-21T09:00:00Z, 2026-11-21T10:00:00Z) WAS WRONG: {wrong} of its rows" in errors
    assert _equal_raw(built)


def test_a_tile_that_lies_only_partly_in_there_is_named_with_the_boundaries_that_would_do(built) -> None:
    message = (
        r"--from 2026-11-21T09:00:00Z lies within tile \[1970-01-01T00:00:00Z, 2026-11-21T10:00:00Z\) of "
        rf"{FUNNEL}.*use --from 1970-01-01T00:00:00Z or 2026-11-21T10:00:00Z"
    )
    with pytest.raises(TileRefused, match=message):
        rebuild(built.settings, built.domain, None, NINE, None, print)
    within = NINE + timedelta(minutes=10)
    with pytest.raises(TileRefused, match=r"--to 2026-11-21T09:10.*use --to 2026-11-21T09:00:00Z or 2026-11-21T10"):
        rebuild(built.settings, built.domain, [REVENUE], EPOCH, within, print)
    done = rebuild(built.settings, built.domain, [REVENUE], NINE, TEN, print)
    assert [(tile.t0, tile.differing) for tile in done.tiles] == [(format_time(NINE), 0)]


def test_what_is_not_there_cannot_be_rebuilt(built) -> None:
    with pytest.raises(TileRefused, match=r"no tile lies from 2026-11-21T10:00:00Z on.*built up to 2026-11-21T10"):
        rebuild(built.settings, built.domain, [REVENUE], TEN, None, print)
    with pytest.raises(TidemarkError, match=f"has no view 'revenue_by_country'; .*{REVENUE}"):
        rebuild(built.settings, built.domain, ["revenue_by_country"], EPOCH, None, print)
