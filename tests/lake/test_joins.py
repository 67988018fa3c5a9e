"""Dimensions joined and repeated events left out, by the kernel alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from lake.domain import Domain, read_domain
from lake.duplicates import find_repeats
from lake.errors import BadDimension
from lake.fields import EventField
from lake.kernel import COUNTS, QUARANTINE, Kernel, version_of
from lake.raw_schema import RAW_SCHEMA

VERSIONS = {
    1: pa.table({"key": ["u0", "u1"], "country": ["DE", "FR"], "score": ["1.5", "0.5"]}),
    2: pa.table({"key": ["u0", "u1"], "country": ["AT", "FR"]}),
}


@pytest.fixture(scope="module")
def domain() -> Domain:
    return read_domain(
        {
            "domain": "visits",
            "event_time": "append_time",
            "dedup": {"key": "id", "segments": 2},
            "dimensions": {"users": {"on": "user", "columns": {"country": "string", "score": "decimal(5,2)"}}},
            "fields": {"id": {"type": "string"}, "country": {"type": "string"}, "user": {"type": "string"}},
            "views": {
                "by_country": {
                    "group_by": {"home": "users.country", "country": "country"},
                    "measures": {"visits": "count", "score": {"sum": "users.score"}},
                },
                "all": {"measures": {"visits": "count"}},
            },
        },
        "visits.yaml",
    )


def records(events: list[dict], versions: list[int] | None = None) -> pa.Table:
    rows = [
        {"partition": 0, "offset": i, "append_time": datetime.now(UTC), "key": None, "value": json.dumps(e).encode()}
        for i, e in enumerate(events)
    ]
    table = pa.Table.from_pylist([r | {"headers": []} for r in rows], schema=RAW_SCHEMA)
    return table if versions is None else table.append_column(version_of("users"), pa.array(versions, pa.int64()))


def read(name: str, version: int) -> pa.Table:
    assert name == "users"
    return VERSIONS[version]


def test_each_record_is_joined_with_the_version_that_holds_for_it(domain: Domain) -> None:
    events = [{"user": "u0", "country": "X"}, {"user": "u1", "country": "X"}, {"user": "u9"}]
    kernel = Kernel(domain, read)
    found = kernel.run(records(events * 3, [0] * 3 + [1] * 3 + [2] * 3))["by_country"].to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (None, None, 3, None),
        (None, "X", 2, None),
        ("AT", "X", 1, None),  # version 2 has no scores
        ("DE", "X", 1, Decimal("1.50")),
        ("FR", "X", 2, Decimal("0.50")),
    ]


def test_rows_that_came_with_the_records_join_like_those_that_were_read(domain: Domain) -> None:
    batch = records([{"user": "u0"}, {"user": "u1"}], [1, 1])
    given = Kernel(domain)
    given.give_dimension("users", VERSIONS[1].append_column("version", pa.array([1, 1], pa.int64())))
    assert given.run(batch)["by_country"].equals(Kernel(domain, read).run(batch)["by_country"])
    keyed = given.keyed(batch)
    assert keyed["on:users"].to_pylist() == ["u0", "u1"] and keyed.num_rows == 2


def test_a_kernel_without_dimensions_says_so_when_it_needs_one(domain: Domain) -> None:
    with pytest.raises(BadDimension, match="version 1 of 'users' is needed"):
        Kernel(domain).run(records([{"user": "u0"}], [1]))


def test_many_versions_in_one_batch_and_after_each_other_are_all_right(domain: Domain) -> None:
    kernel = Kernel(domain, lambda name, v: pa.table({"key": ["u0"], "country": [f"C{v:02d}"]}))
    event = {"user": "u0"}
    for start in (1, 5, 1):
        versions = list(range(start, start + 9))
        found = kernel.run(records([event] * 9, versions))["by_country"]
        assert found["home"].to_pylist() == [f"C{v:02d}" for v in versions]


def test_duplicates_are_left_out_and_conflicts_go_to_quarantine(domain: Domain) -> None:
    kernel = Kernel(domain)
    events = [{"id": "a", "country": "X"}, {"id": "a", "country": "X"}, {"id": "a", "country": "Y"}, {"country": "X"}]
    kernel.parse(records([*events, {"country": "X"}]))
    identities = kernel.identities()
    assert identities["identity"].to_pylist() == ["a", "a", "a"]
    kernel.mark(find_repeats(identities.append_column("segment", pa.array([0, 0, 0])), 20_000))
    states = kernel.aggregate()
    assert states["all"].to_pylist() == [{"visits": 3}]
    [row] = states[QUARANTINE].to_pylist()
    assert (row["offset"], row["reason"]) == (2, "conflict")
    [counts] = states[COUNTS].to_pylist()
    assert counts == {"partition": 0, "events": 5, "good": 3, "quarantined": 1, "markers": 0, "duplicates": 1}


def test_one_more_optional_field_changes_no_view_that_does_not_use_it(domain: Domain) -> None:
    note = EventField(type="integer")
    wider = domain.model_copy(update={"fields": {"note": note, **domain.fields}})
    narrow, wide = Kernel(domain), Kernel(wider)
    batch = records([{"id": "1", "note": "no number"}])
    for view in domain.views:
        assert narrow.definition_hash(view) == wide.definition_hash(view)
        assert narrow.run(batch)[view].equals(wide.run(batch)[view])
    assert wide.run(batch)[QUARANTINE]["reason"].to_pylist() == ["wrong_type:note"]
    required = {"note": note.model_copy(update={"required": True}), **domain.fields}
    strict = domain.model_copy(update={"fields": required})
    assert Kernel(strict).definition_hash("all") != narrow.definition_hash("all")
