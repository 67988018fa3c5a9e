"""Erases a subject: `python -m jobs.forget --domain shop --where user_id=u17 --reason "asked for on 2026-11-20"`.

Its records are emptied in raw, the tiles that they were in are built anew, what is left of it in old files, logs and
the speed store is removed, and a search through every object proves that nothing is there.

Invariant: each step finds in the lake what is left to do, so a run that was killed is simply run again. A tile is stale
exactly if it counts fewer markers than raw has between its cuts, since an erased record is a marker.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import datetime, timedelta

from deltalake.exceptions import DeltaError

from jobs.build_mart import Build
from jobs.forgotten import Forgotten, report
from jobs.program import Say, argument_parser, say
from lake.cuts import EPOCH, check_boundary, format_time, parse_time
from lake.domain import Domain, load_domains
from lake.erasure import NotErased, erase, restore
from lake.erasure_log import ErasureLog
from lake.errors import exit_on_error
from lake.history import forget_history, remove_table, tables_below
from lake.log import Log
from lake.raw import Raw
from lake.registry import live_domain
from lake.residue import Before, Residue
from lake.retention import gone_by
from lake.settings import Settings, load_settings
from lake.speed_residue import forget_speed
from lake.stale_tiles import Tiles, counted, stale_tiles, window
from lake.stored_views import StoredVersion, stored_versions
from lake.subject import Search, Subject
from lake.subject_records import SubjectRecords, find_records


class Forget:
    """One run for one subject of a domain."""

    def __init__(self, settings: Settings, domain: Domain, where: str, say: Say) -> None:
        self._settings, self._domain, self._say = settings, domain, say
        self._subject = Subject.of(domain, where)
        self._search = Search(domain, self._subject)
        self._raw = Raw(settings, domain)
        self._versions = stored_versions(settings, domain.name)
        self._log = ErasureLog(settings)

    def run(self, reason: str, before: datetime | None, dry_run: bool) -> Forgotten:
        """Erase what was appended before `before` (None: the frontier, and there may be nothing after it).

        Raises NotErased, with what to do, before anything is changed or when something is left.
        """
        self._check_reason(reason)
        table = self._raw.table()
        until = self._until(before)
        reach = Before(until, self._raw.cut(until, table))
        erasure = self._log.unfinished(self._domain.name, self._subject)
        self._say(f"looking for the subject in raw/{self._domain.name} before {format_time(until)}")
        found = find_records(self._raw, table, self._search, reach.cut, erasure.id if erasure else None)
        done = self._told(found, until, dry_run)
        done.tiles = counted(self._stale(found))
        tiles = sum(done.tiles.values())
        self._say(f"{done.records} records of it, in {tiles} tiles")
        later = self._later(found, until) if found.later and before is None else None
        if dry_run:
            if later:
                self._say(f"nothing would be erased yet: {later}")
            return done
        if erasure is None:
            if later:
                raise NotErased(f"nothing was erased: {later}")
            erasure = self._log.begin(self._domain.name, self._subject, reason, done.records, tiles)
        if len(found.own):
            erase(self._raw, found.own, erasure.id, erasure.reason, erasure.at)
            self._say(f"{len(found.own)} records were erased in raw")
        restore(self._raw)
        # Anew: what was committed before the erasure is here now, and what was not is refused (check_unchanged).
        self._versions = stored_versions(self._settings, self._domain.name)
        stale = self._stale(found)
        for version, tiles_of in zip(self._versions, stale, strict=True):
            self._rebuild(version, tiles_of)
        done.tiles = counted(stale)
        self._clean(found, stale)
        self._prove(done, reach)
        self._log.prove(erasure, self._subject, done.records, sum(done.tiles.values()))
        if later:  # since the run that was killed
            raise NotErased(f"everything before {done.before} is erased and proved, but {later}")
        return done

    def _stale(self, found: SubjectRecords) -> list[Tiles]:
        return [stale_tiles(version, found, self._settings.segment_seconds) for version in self._versions]

    def _check_reason(self, reason: str) -> None:
        if self._subject.is_in(reason):
            raise NotErased("the reason names the value that is to be erased, and it is kept; write it without")

    def _until(self, before: datetime | None) -> datetime:
        """The time up to which marts hold everything, and no event from there on repeats one before."""
        running = [view for version in self._versions if version.running for view in version.views]
        behind = min(running, key=lambda view: view.frontier)
        seconds = self._settings.segment_seconds
        reach_back = max(window(version.domain, seconds) for version in self._versions)
        if reach_back:
            reach_back -= timedelta(seconds=seconds)
        until = max(behind.frontier - reach_back, EPOCH)
        if before is None:
            return until
        check_boundary(before, seconds)
        if before > until:
            raise NotErased(
                f"--before {format_time(before)} lies after {format_time(until)}, up to which {behind.name} is built"
                + (f" and no duplicate is looked for ({reach_back} back)" if reach_back else "")
                + "; run the DAG build_marts first, or give an earlier time"
            )
        return before

    def _later(self, found: SubjectRecords, until: datetime) -> str:
        assert found.first_later is not None
        return (
            f"{found.later} records of the subject were appended from {format_time(until)} on, the first at "
            f"{format_time(found.first_later)}: the speed layer counts them still, or tells repeats by them. Run the "
            "DAG build_marts up to a time after the last one and then this again, or give "
            f"--before {format_time(until)} to erase what came before that time alone"
        )

    def _told(self, found: SubjectRecords, until: datetime, dry_run: bool) -> Forgotten:
        places = found.places
        counts = places.group_by("partition").aggregate([("offset", "count")]).sort_by("partition").to_pylist()
        domains = load_domains(self._settings.domains_dir).values()
        return Forgotten(
            domain=self._domain.name,
            before=format_time(until),
            dry_run=dry_run,
            records=len(places),
            partitions={row["partition"]: row["offset_count"] for row in counts},
            later=found.later,
            mentioned=found.mentioned,
            kafka_until=gone_by(Log(self._settings, self._domain), places),
            feeds=[d.name for d in domains if any(source.domain == self._domain.name for source in d.sources)],
        )

    def _rebuild(self, version: StoredVersion, tiles: Tiles) -> None:
        for number, ((t0, t1), views) in enumerate(tiles.items(), 1):
            self._say(f"tile {number} of {len(tiles)}: [{format_time(t0)}, {format_time(t1)})")
            build = Build(self._settings, version.domain, t1, self._say)
            build.build_tiles(views, t0)
            if build.refused:
                said = "\n".join(str(refusal) for refusal in build.refused)
                raise NotErased(f"raw is erased, but not every tile was built anew; run this again: {said}")

    def _clean(self, found: SubjectRecords, stale: list[Tiles]) -> None:
        """What older versions of the tables and the speed store hold of it."""
        concerned = [
            view.uri
            for version, tiles in zip(self._versions, stale, strict=True)
            for view in version.views
            if view.name in counted([tiles]) or any(found.holds(t.cut_start, t.cut_end) for t in view.tiles)
        ]
        if concerned:
            forget_speed(self._settings, self._domain.name, self._versions)
            self._remove_unused()
        for uri in dict.fromkeys(concerned):
            try:
                forget_history(self._settings, uri)
            except DeltaError as error:  # a build has committed at the same moment
                raise NotErased(f"older versions of {uri} were not removed ({error}); run this again") from error

    def _remove_unused(self) -> None:
        """The marts of versions that were replaced: they are built anew should such a version come back."""
        name = self._domain.name
        found = tables_below(self._settings, "marts", name) | tables_below(self._settings, "quarantine", name)
        # After the look at the lake: what has just been declared has no table yet, or is known.
        used = {view.uri for version in stored_versions(self._settings, name) for view in version.views}
        for uri in sorted(found - used):
            self._say(f"{uri} is of a version that is not in use any more; it is removed")
            remove_table(self._settings, uri)

    def _prove(self, done: Forgotten, reach: Before) -> None:
        sweep, proof = (
            Residue(self._settings, self._domain, self._search, reach, removing) for removing in (True, False)
        )
        for residue in (sweep, proof):
            residue.look_in_raw()
            for version in self._versions:
                for view in version.views:
                    residue.look_in_mart(view.uri, view.name, version.domain)
        done.objects, done.removed = proof.found.objects, sweep.found.removed
        if problems := proof.found.problems:
            raise NotErased("the subject is still there; run this again: " + "; ".join(dict.fromkeys(problems)))
        done.proved = True
        self._say(f"{done.objects} objects were searched: nothing of the subject is there")


def main() -> None:
    arguments = _arguments()
    began = time.monotonic()
    with exit_on_error():
        settings = load_settings()
        domain = live_domain(settings, arguments.domain)
        forget = Forget(settings, domain, arguments.where, say)
        done = forget.run(arguments.reason, arguments.before, arguments.dry_run)
        if arguments.json:
            print(json.dumps({**asdict(done), "seconds": round(time.monotonic() - began, 1)}))
        else:
            print(report(done))


def _arguments() -> argparse.Namespace:
    parser = argument_parser("python -m jobs.forget", "Erase a subject's records, and whatever was made of them.")
    parser.add_argument("--where", required=True, help="FIELD=VALUE: a field of the events, or 'key', and the subject")
    parser.add_argument("--reason", required=True, help="kept with what was erased; without personal data")
    parser.add_argument(
        "--before", type=parse_time, help="erase what was appended before this time alone; ISO 8601, between segments"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be erased, and change nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
