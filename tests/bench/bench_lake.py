"""The servers and the lake of a benchmark: a stack of its own in a folder that is removed after, and domains in it.

Raw is filled through `Raw.append`, as the lander does. History is the slice's own records again, hours earlier and with
other offsets, and its tiles are the slice's own tile again under the cuts of those hours: nothing reads more of it than
where it lies, so it need not differ.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import yaml

from jobs.tile import commit_tile, take_turn
from lake.cuts import EPOCH, Cut, epoch_ms, format_time
from lake.domain import Domain, load_domain
from lake.kernel import COUNTS, Kernel
from lake.marts import TILE, Manifest, Mart, mart_uri
from lake.raw import Raw
from lake.settings import Settings
from lake.tables import open_table
from lake.yaml_file import read_yaml
from local.ports import Ports
from local.provision import create_bucket
from local.stack import Stack
from local.tools import set_up
from tests.bench.shop_records import HOUR_MS, Revenue, ShopRecords, Visitors, markers

T0, T1 = (datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (9, 10))
HOUR = timedelta(hours=1)
SERVERS = ("minio", "store")
Change = Callable[[dict], dict]
"""What becomes of the shop's declaration."""


@dataclass(frozen=True)
class Slice:
    """[t0, T1) of a domain's raw: the measured records, after `hours` of history of as many records each."""

    domain: Domain
    t0: datetime
    end: Cut
    files: int


class BenchLake:
    """Declares domains beside the shop's, and fills their raw and marts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        create_bucket(settings)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that is to work in this lake."""
        own = {"TIDEMARK_HOME": self.settings.home, "TIDEMARK_BUCKET": self.settings.bucket}
        own |= {"TIDEMARK_DOMAINS_DIR": self.settings.domains_dir}
        return os.environ | {name: str(value) for name, value in own.items()}

    def declare(self, name: str, change: Change = lambda declared: declared) -> Domain:
        shop = read_yaml((Path(__file__).parents[2] / "lake/domains/shop.yaml").read_text()).data
        declared = change(shop | {"domain": name, "topic": name})
        (self.settings.domains_dir / f"{name}.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
        return load_domain(name, self.settings.domains_dir)

    def land(self, domain: Domain, records: ShopRecords, hours: int) -> Slice:
        """Raw with the records in [T0, T1), and `hours` times as many before them, the first hour from T0 - hours."""
        raw = Raw(self.settings, domain)
        raw.create("topic-1")
        heads: Cut = dict.fromkeys(records.heads, 0)
        files = 0
        for back in range(hours, -1, -1):
            sealed = [markers(T0, heads)] if back == 0 and hours else []
            base = {p: offset + len(sealed) for p, offset in heads.items()}
            for rows in [*sealed, *records.blocks(base, -back * HOUR_MS)]:
                self._append(raw, rows, heads)
                files += 1
        end = dict(heads)
        self._append(raw, markers(T1, heads), heads)
        return Slice(domain, T0 if hours else EPOCH, end, files)

    def copy_tiles(self, domain: Domain, records: ShopRecords, hours: int) -> None:
        """A tile for each hour before T0, in every mart: the states that the mart of `domain` without history has."""
        kernel = Kernel(domain)
        cuts = [{p: n * hour for p, n in records.heads.items() if hour} for hour in range(hours + 1)]
        times = [EPOCH, *(T0 - hour * HOUR for hour in range(hours - 1, -1, -1))]
        for view in (name for name in kernel.names if name != COUNTS):
            definition = kernel.definition_hash(view)
            states = self._states(bare(domain.name), view, kernel)
            uri = mart_uri(self.settings, domain.name, view, definition)
            for number in range(hours):
                manifest = Manifest(
                    t0=times[number],
                    t1=times[number + 1],
                    cut_start=cuts[number],
                    cut_end=cuts[number + 1],
                    definition_hash=definition,
                    rows=len(states),
                    events=records.count,
                    good=records.count,
                    quarantined=0,
                    markers=0,
                    build_id="copied",
                )
                self.write_tile(uri, manifest, states)

    def write_tile(self, uri: str, manifest: Manifest, states: pa.Table) -> None:
        """Commit the states as a tile, as a build does."""
        commit_tile(self.settings, take_turn(self.settings, uri, manifest), states.schema, states)

    def forget_tile(self, domain: Domain, t0: datetime) -> None:
        """Take the slice's tile out of every mart, so that the next build appends it."""
        kernel = Kernel(domain)
        for view in (name for name in kernel.names if name != COUNTS):
            table = open_table(self.settings, mart_uri(self.settings, domain.name, view, kernel.definition_hash(view)))
            if table is not None:
                table.delete(f"{TILE} = '{format_time(t0)}'")

    def built(self, domain: Domain, t0: datetime) -> tuple[Revenue, Visitors]:
        """What the marts say of [t0, T1), as `Truth` says it. Raises AssertionError if the tile is not there."""
        kernel = Kernel(domain)
        found = {}
        for view in ("revenue_by_country_hour", "visitors_by_page_minute"):
            found[view] = self._states(domain.name, view, kernel, t0).to_pylist()
        return revenue_of(found["revenue_by_country_hour"]), visitors_of(found["visitors_by_page_minute"])

    @staticmethod
    def _append(raw: Raw, rows: pa.Table, heads: Cut) -> None:
        """Commit the rows, and move the heads behind them."""
        for last in rows.group_by("partition").aggregate([("offset", "max")]).to_pylist():
            heads[last["partition"]] = last["offset_max"] + 1
        raw.append(raw.table(), rows, heads)

    def _states(self, domain: str, view: str, kernel: Kernel, t0: datetime = EPOCH) -> pa.Table:
        mart = Mart(self.settings, domain, view, kernel.schema(view), kernel.definition_hash(view))
        snapshot = mart.snapshot()
        tiles = [tile.t0 for tile in snapshot.tiles]
        assert t0 in tiles, f"no tile from {t0} in {mart.uri}: {tiles}"
        return snapshot.states[tiles.index(t0)]


@contextmanager
def bench_lake(servers: Sequence[str] = SERVERS) -> Iterator[BenchLake]:
    """A lake with servers of its own, which end with it."""
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as folder:
        home = Path(folder)
        stack = Stack(home, set_up(lambda line: None), die_with_parent=True)
        stack.configure(Ports.free(), segment_seconds=60)
        domains = home / "domains"
        domains.mkdir()
        try:
            stack.up(servers)
            yield BenchLake(stack.settings().model_copy(update={"bucket": "bench", "domains_dir": domains}))
        finally:
            stack.stop()


def with_history(name: str, hours: int) -> str:
    """The name of a domain that has so many hours of history."""
    return f"{name}_x{hours}"


def bare(name: str) -> str:
    """The name of the same domain without history."""
    return with_history(name.rsplit("_x", 1)[0], 0)


def revenue_of(rows: list[dict]) -> Revenue:
    return {(row["country"], epoch_ms(row["hour"])): (int(row["revenue"] * 100), row["orders"]) for row in rows}


def visitors_of(rows: list[dict]) -> Visitors:
    return {(row["page"], epoch_ms(row["minute"])): (row["page_views"], row["visitors"]) for row in rows}


def two_views(declared: Mapping) -> dict:
    """The shop with what native Spark can count exactly as well: revenue, and page views without their visitors."""
    views = declared["views"]
    visitors = views["visitors_by_page_minute"]
    counted = visitors | {"measures": {"page_views": "count"}, "units": {"page_views": "views"}}
    kept = {"revenue_by_country_hour": views["revenue_by_country_hour"], "page_views_by_page_minute": counted}
    return {name: value for name, value in declared.items() if name != "dimensions"} | {"views": kept}
