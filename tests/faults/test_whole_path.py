"""Events through Kafka, lander, Spark and Beam to the merged answer, while everything is killed: always exact.

The oracle is plain Python over the producers' ledger of acknowledged records; it shares no code with the kernel.
"""

from __future__ import annotations

import base64
import itertools
import json

import pyarrow as pa

from lake.kernel import decode
from lake.raw import Raw
from tests.faults.parts import KILLS, SEED, VIEWS, Run, advance, run
from tests.reference import Reference

REVENUE, VISITORS = VIEWS


def states_of(table: pa.Table, keys: int = 2) -> dict[tuple, tuple]:
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {row[:keys]: row[keys:] for row in rows}


def test_every_answer_ever_given_equals_plain_python_at_its_head(happened: Run, capsys) -> None:
    watch = happened.watch
    assert watch.errors == []
    checked = 0
    for view in (REVENUE, VISITORS):
        reference, seen, last = Reference(), {}, None
        for answer in (a for a in watch.answers if a.view == view):
            for place in advance(seen, answer.head):
                if event := happened.events_at(place):
                    reference.add(event)
            if last is None or answer.head != last.head or answer.merged != last.merged:
                assert states_of(decode(answer.merged)) == reference.states(view), f"at head {answer.head}"
            checked, last = checked + 1, answer
    kills = {killer.victim.name: dict(killer.landed) for killer in happened.killers}
    frontiers = {a.frontier for a in watch.answers}
    with capsys.disabled():
        print(f"\nseed {SEED}: {checked} answers checked of {watch.queries} queries; SIGKILLs that landed:")
        print(json.dumps(kills, indent=2))
    assert checked == watch.queries > 200
    assert happened.landed >= KILLS
    for killer in happened.killers:
        assert set(killer.landed) == {"at random", *(point.name for point in killer.points)}
        assert (
            sum(killer.landed.values()) >= KILLS // (len(happened.killers) + 1) and min(killer.landed.values()) > 0
        ), killer.victim.name
    assert len(frontiers) == 3, "answers from before, between and after the two slices"


def test_heads_and_frontiers_never_go_back(happened: Run) -> None:
    for view in (REVENUE, VISITORS):
        answers = [a for a in happened.watch.answers if a.view == view]
        for before, after in itertools.pairwise(answers):
            assert before.frontier <= after.frontier
            assert all(after.head.get(p, 0) >= offset for p, offset in before.head.items())


def test_raw_holds_every_acknowledged_record_once_with_its_bytes(happened: Run) -> None:
    raw = Raw(happened.sandbox.settings, happened.sandbox.domain)
    table = raw.table()
    rows = pa.concat_tables(raw.read(file) for file in raw.files(table))
    found: dict[tuple[int, int], dict] = {}
    for row in rows.select(["partition", "offset", "value", "headers"]).to_pylist():
        place = (row["partition"], row["offset"])
        assert place not in found
        found[place] = row
    positions = raw.positions(table)
    assert len(found) == sum(positions.values())
    assert all(offset < positions[p] for p, offset in found)
    assert happened.ledger.keys() <= found.keys()
    for place, row in found.items():
        line = happened.ledger.get(place)
        if line is None:
            assert [h["key"] for h in row["headers"]] == ["tidemark-marker"]
        elif line["kind"] == "good":
            assert json.loads(row["value"]) == line["event"]
        else:
            assert row["value"] == (None if line["value"] is None else base64.b64decode(line["value"]))


def test_a_slice_that_was_built_twice_again_is_the_same_table(happened: Run) -> None:
    first, _, again, once_more = happened.builds
    for build in (again, once_more):
        for before, after in zip(first["views"], build["views"], strict=True):
            assert after["action"] == "replace"
            assert {k: v for k, v in after.items() if k not in ("seconds", "action")} == {
                k: v for k, v in before.items() if k not in ("seconds", "action")
            }


def test_events_are_good_bad_or_markers_in_each_slice(happened: Run) -> None:
    for build in happened.builds[:2]:
        for view in build["views"]:
            assert view["events"] == view["good"] + view["quarantined"] + view["markers"] > 0


def test_quarantine_says_why_each_record_is_bad(happened: Run) -> None:
    reasons = {
        "bad_utf8": "bad_utf8",
        "truncated": "bad_json",
        "wrong_type": "wrong_type:event_time",
        "null_value": "null_value",
        "missing_field": "missing:event_id",
    }
    serving = happened.watch.serving
    pin = serving.pin()
    rows = serving.quarantine(pin).to_pylist()
    cut = pin.marts["_quarantine"].cut
    expected = {
        place: reasons[line["what"]]
        for place, line in happened.ledger.items()
        if line["kind"] == "bad" and place[1] < cut.get(place[0], 0)
    }
    assert {(r["partition"], r["offset"]): r["reason"] for r in rows} == expected
    assert set(expected.values()) == set(reasons.values())


def test_sql_sees_the_merged_view_and_what_it_was_merged_from(happened: Run) -> None:
    def rows(statement: str) -> list[dict]:
        return run(happened.sandbox.environment, "lake.cli", "sql", statement, "--json")

    name = happened.sandbox.domain.name
    reference = Reference(line["event"] for line in happened.ledger.values() if line["kind"] == "good")
    [total] = rows(f"SELECT sum(revenue)::VARCHAR AS revenue, sum(orders)::BIGINT AS orders FROM {REVENUE}")
    assert total["revenue"] == str(sum(s[0] for s in reference.revenue.values()))
    assert total["orders"] == sum(s[1] for s in reference.revenue.values())
    [parts] = rows(
        f"SELECT (SELECT sum(orders) FROM marts.{REVENUE})::BIGINT AS batch,"
        f" (SELECT sum(orders) FROM speed.{REVENUE})::BIGINT AS speed"
    )
    assert parts["batch"] > 0 and parts["speed"] > 0
    assert parts["batch"] + parts["speed"] == total["orders"]
    [joined] = rows(
        f"SELECT count(*) AS n, sum(m.orders - coalesce(b.orders, 0) - coalesce(s.orders, 0))::BIGINT AS rest"
        f" FROM {REVENUE} AS m LEFT JOIN marts.{REVENUE} b USING (country, hour)"
        f" LEFT JOIN speed.{REVENUE} s USING (country, hour)"
    )
    assert joined["n"] == len(reference.revenue) and joined["rest"] == 0
    [counts] = rows(f"SELECT (SELECT count(*) FROM raw.{name}) AS r, (SELECT count(*) FROM quarantine.{name}) AS q")
    assert counts["r"] >= len(happened.ledger) and counts["q"] > 0
