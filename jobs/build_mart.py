"""Builds one slice of a domain: `python -m jobs.build_mart --domain shop --t1 2026-11-21T09:00:00Z`.

Invariant: running it twice, at once, late or as a zombie gives the same marts. Each view commits alone, tile after
tile if the slice is too large for one. So a build that was refused for one view, or was killed, has still done what it
had done, and can be run again as it is.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa
from pyspark.sql import SparkSession
from redis import RedisError

from jobs.carry import collect, collect_views, unpack
from jobs.columns import spark_schema
from jobs.program import Say, argument_parser, say
from jobs.report import Built, report
from jobs.session import start_session
from jobs.slices import Slice, Span, compute
from jobs.split import split
from jobs.tile import LARGE_BYTES, commit_large_tile, commit_tile, take_turn
from jobs.tiling import tiling_of
from jobs.trim import forget_generations, trim_store
from lake.cuts import Cut, boundaries_around, format_time, parse_time
from lake.domain import Domain
from lake.erasure import check_unchanged
from lake.errors import TidemarkError, TileRefused, exit_on_error
from lake.expressions import nearest
from lake.kernel import COUNTS, Kernel
from lake.marts import Manifest, announced_before, check_tile, manifests, mart_uri, unbroken
from lake.raw import Raw
from lake.registry import live_domain
from lake.settings import Settings, load_settings
from lake.tables import FollowedTable
from lake.timeline import Versions


class Build:
    """One run for one T1; views that have come equally far share one pass over raw."""

    def __init__(self, settings: Settings, domain: Domain, t1: datetime, say: Say) -> None:
        self._settings, self._domain, self._t1, self._say = settings, domain, t1, say
        self._kernel = Kernel(domain)
        self._raw = Raw(settings, domain)
        self._version = self._raw.table()
        self._session: SparkSession | None = None
        self._newest = FollowedTable(settings, self._raw.uri)
        self._marts: dict[str, FollowedTable] = {}
        self._id = ""
        self._cuts: dict[datetime, Cut] = {}
        self._split: dict[datetime, list[Span]] = {}
        self.built: list[Built] = []
        self.refused: list[TidemarkError] = []

    def run(self, views: Iterable[str] | None, t0: datetime | None) -> None:
        """Build the views and let go of the speed states that they have come to hold; arguments as `build_tiles`."""
        self.build_tiles(views, t0)
        self._trim()

    def build_tiles(self, views: Iterable[str] | None, t0: datetime | None) -> None:
        """Build the views (None: all), each from t0 (None: its frontier). Refusals are kept, not raised.

        A view that was refused one tile gets none after it.
        """
        self._check_times(t0)
        spans: dict[tuple[datetime, datetime], Span] = {}
        wanted: dict[tuple[datetime, datetime], list[str]] = {}
        for view in self._named(views):
            for span in self._spans(view, t0):
                spans[span.t0, span.t1] = span
                wanted.setdefault((span.t0, span.t1), []).append(view)
        stopped: set[str] = set()
        for number, times in enumerate(sorted(spans), 1):
            if len(spans) > 1:
                self._say(f"tile {number} of {len(spans)}")
            stopped |= self._build(spans[times], [view for view in wanted[times] if view not in stopped])

    def _spans(self, view: str, t0: datetime | None) -> list[Span]:
        """The tiles to build of a view, in order; those that are done already are told."""
        try:
            tiling = tiling_of(view, unbroken(self._tiles(view)), t0, self._t1)
        except TileRefused as refusal:
            self.refused.append(refusal)
            return []
        for manifest in tiling.present:
            self._done(view, "present", manifest, 0.0)
        again = [self._span(*times) for times in tiling.again]
        return again if tiling.rest is None else self._parts(tiling.rest)

    def _parts(self, t0: datetime) -> list[Span]:
        """[t0, t1) in tiles that are not too large."""
        if t0 not in self._split:
            self._split[t0] = split(self._raw, self._version, self._span(t0, self._t1), self._settings.tile_events)
        return self._split[t0]

    def _build(self, span: Span, views: list[str]) -> set[str]:
        """Compute the span once and commit it to each of the views; those that were refused."""
        todo, refused = [], set()
        for view in views:
            try:  # before the work as well as before the commit
                check_tile(self._tiles(view), self._manifest(view, Slice(span, None, {})))
                todo.append(view)
            except TileRefused as refusal:
                self.refused.append(refusal)
                refused.add(view)
        if not todo:
            return refused
        self._id = secrets.token_hex(8)  # one a tile, since a commit is known by it
        session = self._started()
        self._say(f"reading [{format_time(span.t0)}, {format_time(span.t1)}) of raw/{self._domain.name}")
        computed = compute(session, self._domain, self._raw, self._version, span, self._announced(span.t0))
        repeated = f", {computed.duplicates} duplicates" if self._domain.dedup else ""
        self._say(
            f"{computed.events} events: {computed.good} good, {computed.quarantined} bad, {computed.markers} markers"
            + repeated
        )
        states = _small_states(computed, todo)
        for view in todo:
            try:
                self._commit(session, view, computed, states.pop(view, None))
            except TileRefused as refusal:
                self.refused.append(refusal)
                refused.add(view)
        if computed.parcels is not None:
            computed.parcels.unpersist()
        return refused

    def _commit(self, session: SparkSession, view: str, computed: Slice, states: list[pa.Table] | None) -> None:
        """`states`: the view's, if they are here already."""
        began = time.monotonic()
        manifest = self._manifest(view, computed)
        schema = self._kernel.schema(view)
        turn = take_turn(self._settings, self._uri(view), manifest, self._mart(view))
        check_unchanged(self._newest.now() or self._raw.table(), self._version)
        if computed.parcels is not None and computed.bytes.get(view, 0) > LARGE_BYTES:
            rows = unpack(computed.parcels, view, schema)
            commit_large_tile(session, self._settings, turn, spark_schema(schema), rows)
        else:
            if states is None:
                assert computed.parcels is not None
                states = collect(computed.parcels, view)
            commit_tile(self._settings, turn, schema, self._kernel.merge(view, states))
        self._done(view, turn.action, manifest, time.monotonic() - began)

    def _done(self, view: str, action: str, m: Manifest, seconds: float) -> None:
        self._say(f"{view}: {action} {m.span}, {m.rows} rows")
        counts = (m.rows, m.events, m.good, m.quarantined, m.markers, m.duplicates)
        self.built.append(Built(view, action, format_time(m.t0), format_time(m.t1), *counts, round(seconds, 1)))

    def _trim(self) -> None:
        tiles = [unbroken(self._tiles(view)) for view in self._domain.stored_views]
        try:
            trimmed = trim_store(self._settings, self._domain, self._kernel, tiles)
            self._say(f"{trimmed} segments of the speed store are covered by now and were let go")
            for generation in forget_generations(self._settings, self._domain.name):
                self._say(f"the speed states of generation {generation}, which was replaced, were let go")
        except RedisError as error:
            self._say(f"the speed store was not trimmed ({error}); the next build will do it")

    def _span(self, t0: datetime, t1: datetime) -> Span:
        for t in (t0, t1):
            if t not in self._cuts:
                self._cuts[t] = self._raw.cut(t, self._version)
        return Span(t0, t1, self._cuts[t0], self._cuts[t1])

    def _announced(self, t0: datetime) -> Mapping[int, Versions]:
        """The dimensions' versions announced before T0; tiles are read for them only where there are dimensions."""
        if not self._domain.dimensions:
            return {}
        return announced_before(t0, [self._tiles(view) for view in self._named(None)])

    def _tiles(self, view: str) -> list[Manifest]:
        """Every tile in the mart's newest version."""
        table = self._mart(view).now()
        return manifests(table, self._settings, self._uri(view)) if table is not None else []

    def _mart(self, view: str) -> FollowedTable:
        uri = self._uri(view)
        return self._marts.setdefault(uri, FollowedTable(self._settings, uri))

    def _manifest(self, view: str, computed: Slice) -> Manifest:
        span = computed.span
        return Manifest(
            t0=span.t0,
            t1=span.t1,
            cut_start=span.start,
            cut_end=span.end,
            definition_hash=self._kernel.definition_hash(view),
            rows=computed.rows.get(view, 0),
            events=computed.events,
            good=computed.good,
            quarantined=computed.quarantined,
            markers=computed.markers,
            duplicates=computed.duplicates,
            announced={partition: dict(versions) for partition, versions in computed.announced.items()},
            build_id=self._id,
        )

    def _uri(self, view: str) -> str:
        return mart_uri(self._settings, self._domain.name, view, self._kernel.definition_hash(view))

    def _named(self, views: Iterable[str] | None) -> list[str]:
        known = [name for name in self._kernel.names if name != COUNTS]
        for view in views or ():
            if view not in known:
                raise TidemarkError(f"domain '{self._domain.name}' has no view '{view}'; {nearest(view, known)}")
        return known if views is None else list(views)

    def _check_times(self, t0: datetime | None) -> None:
        seconds = self._settings.segment_seconds
        for name, t in (("t0", t0), ("t1", self._t1)):
            if t is not None and (around := boundaries_around(t, seconds)):
                raise TileRefused(
                    f"{name} {format_time(t)} lies within a segment of {seconds} s, so speed could not go on from it; "
                    f"use {format_time(around[0])} or {format_time(around[1])}"
                )
        if t0 is not None and t0 >= self._t1:
            raise TileRefused(f"[{format_time(t0)}, {format_time(self._t1)}) is no slice; t0 must be before t1")

    def _started(self) -> SparkSession:
        if self._session is None:
            self._say("starting Spark")
            self._session = start_session(self._settings, f"build_mart {self._domain.name}")
        return self._session


def _small_states(computed: Slice, views: Iterable[str]) -> dict[str, list[pa.Table]]:
    """The states of those views that are small together, fetched by one job of Spark's."""
    if computed.parcels is None:
        return {view: [] for view in views}
    small, total = [], 0
    for view in sorted(views, key=lambda view: computed.bytes.get(view, 0)):
        total += computed.bytes.get(view, 0)
        if total <= LARGE_BYTES:
            small.append(view)
    return collect_views(computed.parcels, small)


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        build = Build(settings, domain, arguments.t1, say)
        build.run(arguments.views, arguments.t0)
        seconds = time.monotonic() - began
        if arguments.json:
            refused = [str(refusal) for refusal in build.refused]
            views = [asdict(built) for built in build.built]
            print(json.dumps({"domain": domain.name, "views": views, "refused": refused, "seconds": round(seconds, 1)}))
        else:
            print(report(build.built, seconds))
        if build.refused:
            raise TileRefused("\n".join(str(refusal) for refusal in build.refused))


def _arguments() -> argparse.Namespace:
    parser = argument_parser("python -m jobs.build_mart", "Build one slice of a domain's marts.")
    parser.add_argument("--t1", required=True, type=parse_time, help="end of the slice, excluded; ISO 8601")
    parser.add_argument("--t0", type=parse_time, help="its start; without it, each view goes on from its frontier")
    parser.add_argument("--views", type=lambda text: text.split(","), help="a,b; without it, all and the quarantine")
    return parser.parse_args()


if __name__ == "__main__":
    main()
