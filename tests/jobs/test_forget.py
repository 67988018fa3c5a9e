"""A subject that was erased is nowhere any more; everybody else is where they were; whatever was killed on the way."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyarrow import fs

from jobs import build_mart, forget
from jobs.build_mart import Build
from jobs.forget import Forget
from jobs.tile import take_turn
from lake import erasure
from lake.cuts import parse_time
from lake.erasure import ERASED_HEADER, NotErased, check_unchanged
from lake.erasure_log import BEGUN, PROVED, ErasureLog
from lake.errors import TileRefused
from lake.history import forget_history
from lake.kernel import QUARANTINE
from lake.tables import filesystem
from tests.conftest import Sandbox
from tests.jobs.accounts import FILE, SUBJECT, Accounts
from tests.jobs.conftest import NINE

ROOT = Path(__file__).parents[2]
HOURS = [NINE + timedelta(hours=n) for n in range(4)]
WHERE = f"user={SUBJECT}"
OTHERS = ["ann", "bob", "eve"]
VIEWS = ["booked_by_country", "times_by_user", QUARANTINE]


class Killed(BaseException):
    """As a SIGKILL: nothing that comes after runs."""


@pytest.fixture(scope="module")
def built(make_sandbox, spark) -> Accounts:
    """Three slices, each built; the subject is in the last two."""
    sandbox = make_sandbox(FILE)
    accounts = Accounts(sandbox.settings, sandbox.domain)
    for start, users in zip(HOURS, (OTHERS, [*OTHERS, SUBJECT], [*OTHERS, SUBJECT]), strict=False):
        accounts.book(start, 60, users)
        end = start + timedelta(hours=1)
        accounts.seal(end)
        build = Build(sandbox.settings, sandbox.domain, end, print)
        build.run(None, None)
        assert not build.refused
    return accounts


@pytest.fixture
def accounts(built: Accounts) -> Accounts:
    """The same in a bucket of its own."""
    return built.copied(f"test-{secrets.token_hex(4)}")


def run(accounts: Accounts, **options) -> forget.Forgotten:
    told = {"reason": "asked for", "before": None, "dry_run": False} | options
    return Forget(accounts.settings, accounts.domain, WHERE, print).run(**told)


def is_other(sent) -> bool:
    return sent.user != SUBJECT


def places(accounts: Accounts) -> set[tuple[int, int]]:
    return {(sent.partition, sent.offset) for sent in accounts.ledger if not is_other(sent)}


def objects_that_name_it(accounts: Accounts) -> list[str]:
    """Every object of the bucket, each cell of each Parquet file, independent of what the erasure itself looks at."""
    files, found = filesystem(accounts.settings), []
    for info in files.get_file_info(fs.FileSelector(accounts.settings.bucket, recursive=True)):
        if info.type == fs.FileType.File:
            with files.open_input_file(info.path) as file:
                is_table = info.path.endswith(".parquet")
                text = repr(pq.read_table(file).to_pylist()) if is_table else file.read().decode()
            found += [info.path] if SUBJECT in text else []
    return found


def test_a_subject_is_nowhere_any_more_and_all_others_are_where_they_were(accounts: Accounts) -> None:
    end = accounts.raw.cut(HOURS[3])
    accounts.check(end, lambda sent: True)
    before, table = accounts.records(), accounts.raw.table()
    cuts = [accounts.raw.cut(t, table) for t in HOURS[1:]]
    untouched = {view: accounts.mart(view).tiles[0].build_id for view in VIEWS}
    options = accounts.settings.storage_options()
    unused = accounts.settings.table_uri("marts", accounts.domain.name, "times_by_user", "0123456789abcdef")
    write_deltalake(unused, pa.table({"user": [SUBJECT]}), storage_options=options)
    assert any("_delta_log" in path for path in objects_that_name_it(accounts)), "statistics hold it, too"

    told = run(accounts, dry_run=True)
    assert told.records == len(places(accounts)) > 10 and not told.proved
    assert told.tiles == dict.fromkeys(VIEWS, 2)
    assert accounts.raw.table().version() == table.version() and accounts.records() == before

    done = run(accounts)
    assert done.proved and done.records == told.records and done.tiles == told.tiles and done.removed > 0
    assert sum(done.partitions.values()) == done.records and (done.later, done.mentioned) == (0, 0)
    assert objects_that_name_it(accounts) == []
    accounts.check(end, is_other)
    for place, record in accounts.records().items():
        was = before[place]
        if place in places(accounts):
            assert (record["key"], record["value"], record["append_time"]) == (None, None, was["append_time"])
            told_header = {h["key"]: h["value"] for h in record["headers"]}[ERASED_HEADER]
            assert json.loads(told_header)["reason"] == "asked for"
        else:
            assert record == was
    after = accounts.raw.table()
    assert accounts.raw.positions(after) == accounts.heads
    assert [accounts.raw.cut(t, after) for t in HOURS[1:]] == cuts
    assert after.metadata().configuration["delta.appendOnly"] == "true"
    assert {view: accounts.mart(view).tiles[0].build_id for view in VIEWS} == untouched
    [begun, proved] = ErasureLog(accounts.settings).rows()
    assert (begun["action"], proved["action"]) == (BEGUN, PROVED) and begun["erasure"] == proved["erasure"]
    assert (proved["records"], proved["tiles"]) == (done.records, 6)

    again = run(accounts)
    assert again.proved and (again.records, again.tiles, again.removed) == (0, {}, 0)


def test_killed_anywhere_it_is_run_again_and_completes(accounts: Accounts, monkeypatch) -> None:
    """Each run dies one step further than the one before."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    def once(real: Callable) -> Callable:
        """Let it do its work, and die before anybody knows."""

        def work(*arguments, **options):
            real(*arguments, **options)
            raise Killed

        return work

    def lift(raw, *_: object) -> None:
        erasure._set_append_only(raw, False)
        raise Killed

    steps = [
        (erasure, "_erase_day", lift),  # append-only is lifted
        (erasure, "_erase_day", once(erasure._erase_day)),  # raw is erased
        (Build, "build_tiles", once(Build.build_tiles)),  # one tile is built
        (forget, "forget_history", once(forget_history)),  # one mart is clean
        (ErasureLog, "prove", die),  # all is done, and not said
    ]
    for owner, name, replacement in steps:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, replacement)
            patch.setattr(erasure, "restore", lambda raw: None)  # no `finally` runs in a process that is killed
            patch.setattr(forget, "restore", lambda raw: None)
            run(accounts)
    own = len(places(accounts))
    accounts.book(HOURS[3], 3, [SUBJECT])  # back again meanwhile
    with pytest.raises(NotErased, match="12:00:00Z is erased and proved, but 3 records of the subject were appended"):
        run(accounts)
    assert accounts.raw.table().metadata().configuration["delta.appendOnly"] == "true"
    accounts.check(accounts.raw.cut(HOURS[3]), is_other)
    [landed_since] = objects_that_name_it(accounts)
    assert "/raw/" in landed_since
    rows = ErasureLog(accounts.settings).rows()
    assert [row["action"] for row in rows] == [BEGUN, PROVED] and rows[1]["records"] == own
    assert len({row["erasure"] for row in rows}) == 1


def test_what_marts_do_not_hold_yet_is_refused_and_may_be_left_for_later(accounts: Accounts) -> None:
    accounts.book(HOURS[3], 20, [SUBJECT])
    version = accounts.raw.table().version()
    with pytest.raises(NotErased, match=r"20 records of the subject were appended from 2026-11-21T12:00:00Z on"):
        run(accounts)
    with pytest.raises(NotErased, match="lies after 2026-11-21T12:00:00Z"):
        run(accounts, before=HOURS[3] + timedelta(seconds=10))
    with pytest.raises(NotErased, match="the reason names the value"):
        run(accounts, reason=f"{SUBJECT} asked for it")
    assert run(accounts, dry_run=True).later == 20
    assert accounts.raw.table().version() == version and ErasureLog(accounts.settings).rows() == []
    done = run(accounts, before=HOURS[2])
    assert done.proved and done.later > 20 and done.tiles == dict.fromkeys(VIEWS, 1)
    cut = accounts.raw.cut(HOURS[2])
    accounts.check(accounts.raw.cut(HOURS[3]), lambda s: is_other(s) or s.offset >= cut[s.partition])


def test_a_build_that_read_the_subject_before_it_was_erased_may_not_commit(accounts: Accounts, monkeypatch) -> None:
    """It has computed its states when the erasure begins and ends. Here it is told, and commits all the same."""
    refusals = []

    def late(*arguments):
        monkeypatch.setattr(build_mart, "take_turn", take_turn)
        assert run(accounts).proved
        return take_turn(*arguments)

    def deaf(raw, version) -> None:
        try:
            check_unchanged(raw, version)
        except TileRefused as refusal:
            refusals.append(str(refusal))

    monkeypatch.setattr(build_mart, "take_turn", late)
    monkeypatch.setattr(build_mart, "check_unchanged", deaf)
    Build(accounts.settings, accounts.domain, HOURS[2], print).build_tiles(["times_by_user"], HOURS[1])
    assert len(refusals) == 1 and "records were erased" in refusals[0]
    assert SUBJECT in {row["user"] for row in accounts.states("times_by_user")}, "so that it has to listen"
    monkeypatch.undo()
    done = run(accounts)
    assert done.proved and (done.records, done.tiles) == (0, {"times_by_user": 1})
    assert objects_that_name_it(accounts) == []


def test_the_command_says_what_it_would_do_and_never_the_value(accounts: Accounts) -> None:
    command = [sys.executable, "-m", "jobs.forget", "--domain", accounts.domain.name, "--where", WHERE]
    command += ["--reason", "x", "--dry-run", "--json"]
    environment = Sandbox(accounts.settings, accounts.domain).environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["records"] == len(places(accounts)) and told["dry_run"] and not told["proved"]
    assert parse_time(told["before"]) == HOURS[3]
    assert SUBJECT not in done.stdout + done.stderr
