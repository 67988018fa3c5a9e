"""Whose a record is, as lake.subject says: what belongs to the subject, what names it, and what is nobody's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from lake.domain import Domain, load_domain
from lake.raw_schema import RAW_SCHEMA
from lake.subject import BadSubject, Search, Subject

SHOP = Path(__file__).parents[2] / "lake" / "domains"


@pytest.fixture(scope="module")
def shop() -> Domain:
    return load_domain("shop", SHOP)


def event(**fields: object) -> bytes:
    whole = {"event_id": "e", "event_type": "login", "event_time": 1_764_000_000_000, "user_id": "u1", "country": "DE"}
    return json.dumps(whole | fields).encode()


def verdict(domain: Domain, where: str, key: bytes | None, value: bytes | None, headers=()) -> str:
    told = [{"key": name, "value": text} for name, text in headers]
    at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    record = {"partition": 0, "offset": 7, "append_time": at, "key": key, "value": value, "headers": told}
    found = Search(domain, Subject.of(domain, where)).among(pa.Table.from_pylist([record] * 2, RAW_SCHEMA))
    first, second = found.select(["marker", "own", "mentioned"]).to_pylist()
    assert first == second
    return next((name for name, holds in first.items() if holds), "another's")


@pytest.mark.parametrize(
    ("key", "value", "headers", "expected"),
    [
        (b"k", event(user_id="u17"), (), "own"),
        (b"k", event(user_id="u17", quantity=0), (), "own"),  # a bad optional field changes nothing
        (b"k", event(user_id="u17", country=7), (), "own"),  # nor does a bad required one
        (b"k", event(), (), "another's"),
        (b"k", event(user_id="u171"), (), "another's"),
        (b"k", event(page="u17"), (), "mentioned"),
        (b"u17", event(user_id="u2", country=7), (), "mentioned"),  # the field can be read, and it says who
        (b"k", b'{"user_id": "u17", "cou', (), "own"),
        (b"k", b'{"user_id": "u171", "cou', (), "another's"),
        (b"k", event(user_id=["u17"]), (), "own"),
        (b"u17", None, (), "own"),
        (b"u17", b"\xff\xfe", (), "own"),
        (None, b"\xff", [("sent-by", b"app of u17")], "own"),
        (None, b"\xff", [("u17", None)], "own"),
        (b"u17", None, [("tidemark-marker", b"{}")], "marker"),
        (b"u17", None, [("tidemark-erased", b"{}")], "own"),
    ],
)
def test_a_record_is_the_subjects_if_it_says_so_or_cannot_be_read_and_names_it(shop, key, value, headers, expected):
    assert verdict(shop, "user_id=u17", key, value, headers) == expected


def test_the_key_of_a_record_can_tell_the_subject(shop):
    assert verdict(shop, "key=u17", b"u17", event()) == "own"
    assert verdict(shop, "key=u17", b"k", event(user_id="u17")) == "mentioned"
    assert verdict(shop, "key=tidemark-marker", b"tidemark-marker", None, [("tidemark-marker", b"{}")]) == "marker"


def test_a_number_is_compared_as_a_number_and_letters_in_either_spelling_of_json(shop):
    assert verdict(shop, "quantity=17", b"k", event(quantity=17)) == "own"
    assert verdict(shop, "quantity=17", b"k", event(quantity=170)) == "another's"
    for ascii_only in (True, False):
        broken = json.dumps({"user_id": "Zoë"}, ensure_ascii=ascii_only).encode()[:-1]
        assert verdict(shop, "user_id=Zoë", b"k", broken) == "own"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("user_id", "--where wants FIELD=VALUE"),
        ("user_id=", "--where wants FIELD=VALUE"),
        ("user=u17", "no field of shop with one value"),
        ("quantity=many", "is no integer, which 'quantity' is"),
    ],
)
def test_what_names_no_subject_is_refused_without_saying_the_value(shop, where, said):
    with pytest.raises(BadSubject, match=said) as refused:
        Subject.of(shop, where)
    assert "many" not in str(refused.value)


def test_the_columns_of_a_view_that_hold_the_subject_are_known(shop):
    subject = Subject.of(shop, "user_id=u17")
    made = {name: subject.columns_made_from(view) for name, view in shop.stored_views.items()}
    assert made["last_login_by_user"] == ["user_id"] and made["visitors_by_page_minute"] == ["visitors"]
    assert made["revenue_by_country_hour"] == []
    assert "u17" not in repr(subject)
