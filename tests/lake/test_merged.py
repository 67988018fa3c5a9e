"""SQL over merged views: the rows that serving presents, and all views of a statement at one moment."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pytest

from lake.cuts import epoch_ms
from lake.domain import Domain
from lake.errors import MissingCoverage, TidemarkError
from lake.kernel import Kernel, encode
from lake.local_mart import LocalMart
from lake.marts import MartSnapshot
from lake.raw_schema import RAW_SCHEMA
from lake.serving import Serving
from lake.sql import Prompt
from lake.store import Piece, SpeedStore
from lake.waiting import wait_until
from tests.conftest import Sandbox
from tests.faults.parts import wait_for
from tests.jobs.landed import Landed
from tests.lake.served import Served, orders

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
REVENUE, BASKETS = "revenue_by_country_hour", "baskets_by_country_hour"


class Tail:
    """A partition that goes on beside what was served, put as the speed layer does: a minute a segment."""

    def __init__(self, settings, domain: Domain, partition: int = 7) -> None:
        self.kernel, self.partition, self.events = Kernel(domain), partition, 0
        generation = self.kernel.generation(settings.segment_seconds)
        self._views = tuple(domain.stored_views)
        self._store = SpeedStore(settings.store_url, generation, domain.name)
        self._store.open(partition, 0, "topic-1")
        self._segment: list[bytes] = []

    def put(self, values: Sequence[bytes], minute: int, *, begins: bool = False) -> None:
        """These events at the end of the segment of that minute after nine, which may begin with them."""
        self._segment = [*([] if begins else self._segment), *values]
        at, head = NINE + timedelta(minutes=minute), self.events + len(values)
        states = self.kernel.run(batch(self._segment, at, self.partition), names=self._views)
        first = head - len(self._segment)
        encoded = {view: encode(table) for view, table in states.items()}
        piece = Piece(epoch_ms(at), first, head, epoch_ms(at), encoded)
        assert self._store.put(self.partition, self.events, [piece], "topic-1", 0)
        self.events = head


def batch(values: Sequence[bytes], at: datetime, partition: int) -> pa.Table:
    rows = [{"partition": partition, "offset": n, "append_time": at, "value": v} for n, v in enumerate(values)]
    return pa.Table.from_pylist(rows, schema=RAW_SCHEMA)


def values(events: Iterable[dict]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


def logins(source: random.Random, count: int) -> Iterable[dict]:
    for n in range(count):
        at = NINE - timedelta(minutes=source.randrange(200))
        event = {"event_id": f"l{n}", "event_type": source.choice(["login", "logout", "page_view"])}
        user = {"user_id": f"u{source.randrange(9)}", "country": "DE", "page": "/a"}
        yield event | user | {"event_time": epoch_ms(at)}


@pytest.fixture
def served(sandbox: Sandbox) -> Served:
    source, landed = random.Random(11), Landed(sandbox.settings, sandbox.domain)
    landed.values(NINE - timedelta(minutes=30), values([*orders(source, NINE, 60), *logins(source, 60)]))
    landed.seal(NINE)
    landed.values(NINE + timedelta(minutes=5), values([*orders(source, NINE, 40), *logins(source, 40)]))
    return Served(sandbox, landed, NINE)


@pytest.fixture
def prompt(served: Served) -> Prompt:
    return Prompt(served.settings, {served.domain.name: served.domain})


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def check(prompt: Prompt, served: Served) -> None:
    """Every view in each layer, against what a new serving makes of all states."""
    serving = Serving(served.settings, served.domain)
    with_rows = 0
    for view in served.domain.views:
        answer = serving.merge(view, serving.pin())
        expected = {
            "": serving.values(answer),
            "marts.": serving.present(view, answer.batch),
            "speed.": serving.present(view, answer.speed),
        }
        for schema, values in expected.items():
            found = prompt.query(f"SELECT * FROM {schema}{view}")
            assert found.column_names == values.column_names, schema + view
            assert rows(found) == rows(values), schema + view
            with_rows += len(found) > 0
    assert with_rows > 3 * len(served.domain.views) // 2


def test_sql_sees_what_serving_presents_in_every_layer_as_the_tail_grows(served: Served, prompt: Prompt) -> None:
    source, tail = random.Random(12), Tail(served.settings, served.domain)
    check(prompt, served)
    for minute in range(4):
        tail.put(values([*orders(source, NINE, 20), *logins(source, 20)]), minute, begins=True)
        check(prompt, served)
        tail.put(values(orders(source, NINE, 5)), minute)
        check(prompt, served)
    check(Prompt(served.settings, {served.domain.name: served.domain}), served)


def scans(plan: dict) -> Iterable[dict]:
    """What is told of each table that a plan reads."""
    if plan["name"].strip() == "SEQ_SCAN":
        yield plan["extra_info"]
    for child in plan["children"]:
        yield from scans(child)


@pytest.mark.parametrize(
    ("view", "condition", "carried"),
    [
        (REVENUE, "country = 'DE'", True),
        (BASKETS, "country = 'DE'", True),
        ("last_login_by_user", "user_id = 'u1'", True),
        (REVENUE, "orders = 3", False),
    ],
)
def test_a_condition_on_keys_is_carried_down_to_both_layers(
    prompt: Prompt, view: str, condition: str, carried: bool
) -> None:
    told = prompt.query(f"EXPLAIN (FORMAT json) SELECT * FROM {view} WHERE {condition}")
    [plan] = json.loads(told["explain_value"].to_pylist()[0])
    read = {scan["Table"]: scan.get("Filters") for scan in scans(plan)}
    assert any("copy" in table for table in read) and any(f"{view}:moving" in table for table in read)
    assert set(read.values()) == {f"({condition})" if carried else None}


def test_a_statement_that_began_before_copies_were_joined_reads_those_that_it_began_with(
    served: Served, prompt: Prompt, monkeypatch
) -> None:
    monkeypatch.setattr("lake.local_mart.FILES", 1)
    sql = f"SELECT * FROM marts.{REVENUE}"
    before = rows(prompt.query(sql))
    [tables] = prompt._merged.values()
    [first] = tables._held[REVENUE].copies
    with prompt._reading([], alone=False) as began:
        served.build(NINE + timedelta(hours=1))
        wait_for(lambda: rows(prompt.query(sql)) != before and first not in tables._held[REVENUE].copies, "joining", 60)
        assert rows(began.execute(sql).to_arrow_table()) == before


def test_views_that_take_the_place_of_another_versions_read_the_copies_that_both_need(prompt: Prompt) -> None:
    before = rows(prompt.query(f"SELECT * FROM {REVENUE}"))
    prompt._servings.clear()
    for _ in range(2):
        assert rows(prompt.query(f"SELECT * FROM {REVENUE}")) == before
    [tables] = prompt._merged.values()
    assert tables._name.endswith(" 2")


def test_the_views_of_a_statement_stand_at_one_moment_while_segments_come(served: Served, prompt: Prompt) -> None:
    source, tail, done = random.Random(13), Tail(served.settings, served.domain), threading.Event()
    sql = f"""SELECT (SELECT sum(orders) FROM {REVENUE}) AS a, (SELECT sum(orders) FROM {BASKETS}) AS b,
        (SELECT sum(orders) FROM speed.{REVENUE}) + (SELECT sum(orders) FROM marts.{BASKETS}) AS c"""
    seen: list[int] = []
    failed: list[BaseException] = []

    def ask(other: str) -> None:
        last = 0
        try:
            while not done.is_set():
                prompt.query(f"SELECT sum(orders) FROM {other}")
                [row] = prompt.query(sql).to_pylist()
                assert row["a"] == row["b"] == row["c"] >= last
                seen.append(last := row["a"])
        except BaseException as error:
            failed.append(error)

    clients = [threading.Thread(target=ask, args=[other]) for other in (REVENUE, BASKETS, REVENUE)]
    for client in clients:
        client.start()
    end = monotonic() + 60
    while len(set(seen)) < 9 and monotonic() < end and not failed:
        tail.put(values(orders(source, NINE, 3)), tail.events // 60, begins=tail.events % 60 == 0)
    done.set()
    for client in clients:
        client.join()
    assert not failed, failed
    assert len(set(seen)) > 2, "so that it moved while it was asked"

    def newest() -> bool | None:
        return True if prompt.query(sql)["a"].to_pylist() == [100 + tail.events] else None

    wait_until(newest, 30, 0.05, lambda: AssertionError("the last segment never came"))


def test_what_a_statement_changes_is_gone_and_files_stay_out_of_reach(served: Served, prompt: Prompt) -> None:
    before = rows(prompt.query(f"SELECT * FROM {REVENUE}"))
    for statement in (
        f"DROP VIEW {REVENUE}",
        f"CREATE OR REPLACE VIEW {REVENUE} AS SELECT 1",
        f"COMMIT; DROP VIEW {REVENUE}; SELECT 1",
        "SET enable_external_access = true",
        "ATTACH 'other.duckdb'",
        "COPY (SELECT 1) TO 'out.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        f"SELECT * FROM {REVENUE}, read_text('/etc/passwd')",
    ):
        with pytest.raises(TidemarkError):
            prompt.query(statement)
        assert rows(prompt.query(f"SELECT * FROM {REVENUE}")) == before, statement


def test_while_the_store_replays_the_last_moment_is_answered(served: Served, prompt) -> None:
    total = f"SELECT sum(orders) AS n FROM {REVENUE}"
    before = prompt.query(total).to_pylist()
    store = SpeedStore(
        served.settings.store_url, served.kernel.generation(served.settings.segment_seconds), served.domain.name
    )
    store.forget()
    [serving] = [tables.serving for tables in prompt._merged.values()]
    with pytest.raises(MissingCoverage):
        serving.show({REVENUE: {}})
    assert prompt.query(total).to_pylist() == before, "the head may not go back"
    other = Prompt(served.settings, {served.domain.name: served.domain})
    [row] = other.query(total).to_pylist()
    assert row["n"] == 60, "one that has shown nothing yet answers as of the frontier"


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The copies that another process removed after they were given out: all, the first time."""
    given, removed = LocalMart.files, set[Path]()

    def files(local: LocalMart, snapshot: MartSnapshot) -> list[Path]:
        found = given(local, snapshot)
        for file in set(found) - removed:
            file.unlink()
        removed.update(found)
        return found

    monkeypatch.setattr(LocalMart, "files", files)
    return removed


def test_copies_that_another_process_removes_before_they_are_opened_cost_a_second_look(
    served: Served, vanishing: set[Path]
) -> None:
    plain = Serving(served.settings, served.domain)
    expected = plain.answer(REVENUE)
    found = Serving(served.settings, served.domain, copies=True).answer(REVENUE)
    assert vanishing and found.merged.equals(expected.merged)
    vanishing.clear()
    values = Prompt(served.settings, {served.domain.name: served.domain}).query(f"SELECT * FROM {REVENUE}")
    assert vanishing and rows(values) == rows(plain.values(expected))
