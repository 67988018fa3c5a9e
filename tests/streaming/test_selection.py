"""Which records a route takes, and what it says of them, without a server."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from lake.domain import Domain, Source, load_domain
from lake.parse import MARKER_HEADER
from lake.raw_schema import RAW_SCHEMA
from streaming.selection import SOURCE_HEADER, Routed, Selection, place_of
from streaming.topic import Topic

SOURCE, TARGET = Topic("source", "id-of-source", (0,)), Topic("target", "id-of-target", (0,))


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    fields = {
        "at": {"type": "timestamp_ms", "required": True},
        "n": {"type": "integer"},
        "tags": {"type": "list(string)"},
    }
    declared = {"domain": "source", "event_time": "at", "fields": fields}
    (tmp_path / "source.yaml").write_text(yaml.safe_dump({**declared, "views": {"v": {"measures": {"m": "count"}}}}))
    return load_domain("source", tmp_path)


def select(domain: Domain, rules: list[Source], *records: tuple) -> list[Routed]:
    """Records are (key, value, headers)."""
    rows = [
        {
            "partition": 0,
            "offset": offset,
            "append_time": 0,
            "key": key,
            "value": value,
            "headers": headers and [{"key": name, "value": told} for name, told in headers],
        }
        for offset, (key, value, headers) in enumerate(records)
    ]
    return list(Selection(domain, rules).of(pa.Table.from_pylist(rows, schema=RAW_SCHEMA), SOURCE, TARGET))


COPY = Source(domain="source")


def test_without_where_all_is_taken_but_markers_and_what_came_from_the_target(domain):
    taken = select(
        domain,
        [COPY],
        (b"k", b"\xff not utf-8", None),
        (None, None, None),
        (b"k", None, [(MARKER_HEADER, b"{}")]),
        (b"k", b"{}", [(SOURCE_HEADER, b'{"topic":"id-of-target","partition":0,"offset":7}')]),
        (b"k", b"{}", [(SOURCE_HEADER, b'{"topic":"id-of-another","partition":0,"offset":7}')]),
        (b"k", b"{}", [(SOURCE_HEADER, b"forged"), ("other", None)]),
    )
    assert [routed.place[2] for routed in taken] == [0, 1, 4, 5]
    assert [(routed.key, routed.value) for routed in taken[:2]] == [(b"k", b"\xff not utf-8"), (None, None)]
    for routed in taken:
        headers = [{"key": name, "value": told} for name, told in routed.headers]
        assert place_of(headers) == routed.place == ("id-of-source", 0, routed.place[2])
    assert taken[2].headers[0] == (SOURCE_HEADER, b'{"topic":"id-of-another","partition":0,"offset":7}')
    assert taken[3].headers[:2] == [(SOURCE_HEADER, b"forged"), ("other", None)]


def test_a_value_that_claims_to_be_a_marker_is_routed_as_the_event_that_it_is_and_seals_nothing(domain):
    [taken] = select(domain, [COPY], (b"k", b"{}", [(MARKER_HEADER, b'{"t":1,"partitions":1}'), ("h", b"1")]))
    assert [name for name, _ in taken.headers] == ["h", SOURCE_HEADER]


def test_where_sees_events_whose_fields_in_it_are_good_whatever_the_others_are(domain):
    events = [b'{"at":1,"n":1}', b'{"at":1,"n":2}', b'{"at":1,"n":"2"}', b'{"at":1,"n":2,"tags":7}', b'{"n":2}', b"2"]
    taken = select(domain, [Source(domain="source", where="n = 2")], *((b"k", event, None) for event in events))
    assert [routed.place[2] for routed in taken] == [1, 3]


def test_an_expression_that_fails_on_an_event_leaves_it_out_and_a_key_that_fails_is_the_old_one(domain):
    rule = Source(domain="source", where="tags[1]::BIGINT > 1", key="tags[2]::BIGINT")
    events = [b'{"at":1,"tags":["x","1"]}', b'{"at":1,"tags":["2","3"]}', b'{"at":1,"tags":["2","x"]}']
    taken = select(domain, [rule], *((b"old", event, None) for event in events))
    assert [(routed.place[2], routed.key) for routed in taken] == [(1, b"3"), (2, b"old")]


def test_what_is_no_place_is_nobodys():
    for headers in (None, [], [{"key": "h", "value": b"1"}], [{"key": SOURCE_HEADER, "value": b"[1]"}]):
        assert place_of(headers) is None
