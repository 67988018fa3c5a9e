"""What-if: the alternative is of exactly the events that production shows, and production stays as it is."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from lake.cli import app
from lake.cuts import epoch_ms
from lake.dimensions import Dimensions
from lake.domain import Domain, read_domain
from lake.errors import BadDimension, BadDomain, TidemarkError
from lake.registry import Registry
from lake.serving import Serving
from lake.what_if import ALTERNATIVE, BOTH, PRODUCTION, compare, parse_version, read_alternative, what_if
from tests.jobs.landed import Landed
from tests.lake.served import Served, orders

NINE = datetime(2026, 11, 21, 9, tzinfo=UTC)
VIEW = "revenue_by_country_hour"
REVENUE = {
    "where": "event_type = 'order'",
    "group_by": {"country": "country", "hour": "date_trunc('hour', event_time)"},
    "measures": {"revenue": {"sum": "amount"}, "orders": "count"},
}
LARGE = {**REVENUE, "where": "event_type = 'order' AND amount >= 50", "values": {"mean": "revenue / orders"}}


@pytest.fixture(scope="module")
def sent() -> list[dict]:
    """What happened, batch and speed, by the order in which it was sent."""
    source = random.Random(4)
    return [*orders(source, NINE - timedelta(minutes=30), 60), *orders(source, NINE + timedelta(minutes=5), 60)]


@pytest.fixture(scope="module")
def served(make_sandbox, sent: list[dict]) -> Served:
    """60 orders in a tile, 60 and some logins in speed; two versions of the users, which were never announced."""
    sandbox = make_sandbox()
    landed = Landed(sandbox.settings, sandbox.domain)
    values = [json.dumps(event).encode() for event in sent]
    landed.values(NINE - timedelta(minutes=30), values[:60])
    landed.seal(NINE)
    landed.values(NINE + timedelta(minutes=5), [*values[60:], *(login(user) for user in ("u1", "u2", "u3"))])
    dimensions = Dimensions(sandbox.settings)
    declared = [sandbox.domain.dimensions["users"].columns]
    dimensions.load("users", pa.table({"key": ["u1"], "country": ["AT"], "tier": ["gold"]}), declared)
    two = pa.table({"key": ["u1", "u2"], "country": ["AT", "CH"], "tier": ["gold", "gold"]})
    dimensions.load("users", two, declared)
    Registry(sandbox.settings).declare(sandbox.domain)
    served = Served(sandbox, landed, NINE)
    # Beyond the head: raw has it, nobody has counted it yet.
    landed.values(NINE + timedelta(minutes=6), values[:40])
    return served


@pytest.fixture
def proposed(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        path = tmp_path / "other.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def login(user: str) -> bytes:
    fields = {"event_id": f"login {user}", "event_type": "login", "event_time": epoch_ms(NINE), "user_id": user}
    return json.dumps({**fields, "country": "DE"}).encode()


def expected(events: list[dict], least: int) -> dict[tuple, tuple[Decimal, int]]:
    """(country, hour) -> revenue and orders of at least so much, in plain Python."""
    found: dict[tuple, list] = {}
    for event in events:
        if (amount := Decimal(event["amount"])) >= least:
            hour = datetime.fromtimestamp(event["event_time"] // 3_600_000 * 3600, UTC)
            row = found.setdefault((event["country"], hour), [Decimal(0), 0])
            row[0] += amount
            row[1] += 1
    return {key: (revenue, count) for key, (revenue, count) in found.items()}


def test_an_alternative_definition_stands_beside_production_of_the_same_events(served: Served, sent, proposed) -> None:
    other = read_alternative(served.domain, proposed({"views": {VIEW: LARGE}}), VIEW)
    compared = what_if(served.settings, Serving(served.settings, served.domain), VIEW, other)
    production, alternative = expected(sent, 0), expected(sent, 50)
    assert (compared.frontier, compared.head) == (NINE, served.head)
    assert compared.production_hash != compared.alternative_hash
    assert {(r.keys["country"], r.keys["hour"]) for r in compared.rows} == production.keys()
    for row in compared.rows:
        key = (row.keys["country"], row.keys["hour"])
        revenue, count = row.values["revenue"], row.values["orders"]
        assert (revenue.production, count.production) == production[key]
        assert (revenue.alternative, count.alternative) == alternative.get(key, (None, None))
        assert row.side == (BOTH if key in alternative else PRODUCTION)
        assert row.differs == (production[key] != alternative.get(key))
        if row.side == BOTH:
            assert revenue.difference == alternative[key][0] - production[key][0]
            assert row.values["mean"].production is None and row.values["mean"].alternative > 0
    assert compared.differing and compared.differing == [row for row in compared.rows if row.differs]


def test_the_same_definition_differs_nowhere_although_raw_holds_more_by_now(served: Served, sent) -> None:
    compared = what_if(served.settings, Serving(served.settings, served.domain), VIEW)
    assert len(compared.rows) == len(expected(sent, 0)) and compared.differing == []
    assert compared.production_hash == compared.alternative_hash
    # The control: with what lies beyond the head, the answer would be another.
    assert expected(sent + sent[:40], 0) != expected(sent, 0)


def test_a_version_of_a_dimension_holds_for_all_events(served: Served) -> None:
    serving = Serving(served.settings, served.domain)

    def logged_in(versions: dict[str, int] | None) -> dict[str, tuple]:
        rows = what_if(served.settings, serving, "logged_in_by_country", None, versions).rows
        return {r.keys["country"]: (r.side, r.values["users"].production, r.values["users"].alternative) for r in rows}

    assert logged_in(None) == {"DE": (BOTH, 3, 3)}
    assert logged_in({"users": 1}) == {"DE": (BOTH, 3, 2), "AT": (ALTERNATIVE, None, 1)}
    assert logged_in({"users": 2}) == {
        "DE": (BOTH, 3, 1),
        "AT": (ALTERNATIVE, None, 1),
        "CH": (ALTERNATIVE, None, 1),
    }
    with pytest.raises(BadDimension, match="'users' has no version 3; there are 1 to 2"):
        logged_in({"users": 3})
    with pytest.raises(TidemarkError, match="uses no dimension 'user'; did you mean 'users'"):
        logged_in({"user": 1})
    with pytest.raises(TidemarkError, match="uses no dimension 'users'; it uses none"):
        what_if(served.settings, serving, VIEW, None, {"users": 1})


def test_nothing_of_production_changes(served: Served, proposed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in served.sandbox.environment.items():
        if name.startswith("TIDEMARK_"):
            monkeypatch.setenv(name, value)
    before = served.contents()
    assert any("/registry/" in name for name in before) and any("/marts/" in name for name in before)
    assert any(name.startswith("tidemark:{") for name in before)

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["what-if", *arguments])
        assert result.exit_code == 0, result
        return result.stdout

    other = str(proposed({"views": {VIEW: LARGE}}))
    document = json.loads(said(VIEW, "--definition", other, "--diff", "--json"))
    assert document["rows_differing"] == len(document["compared"]) <= document["rows"]
    assert all(row["differs"] for row in document["compared"])
    text = said(VIEW, "--definition", other)
    assert "alternative" in text and "frontier 2026-11-21T09:00:00Z" in text and "nothing was changed" in text
    assert "CH" in said("logged_in_by_country", "--dimension", "users@2")
    assert served.contents() == before
    assert isinstance(CliRunner().invoke(app, ["what-if", VIEW]).exception, TidemarkError)
    # The control: a change that is none of production's would show.
    Dimensions(served.settings).load("guests", pa.table({"key": ["g"]}), [])
    assert served.contents() != before


@pytest.fixture(scope="module")
def shop() -> Domain:
    time = {"type": "timestamp_ms", "required": True}
    fields = {"event_type": {"type": "string"}, "event_time": time, "country": {"type": "string"}}
    views = {
        VIEW: REVENUE,
        "countries": {"over": VIEW, "group_by": {"country": "country"}, "measures": {"best": {"max": "revenue"}}},
        "others": {"measures": {"events": "count"}},
    }
    fields["amount"] = {"type": "decimal(12,2)"}
    return read_domain({"domain": "shop", "event_time": "event_time", "fields": fields, "views": views}, "shop.yaml")


def test_a_whole_domain_file_may_declare_a_field_that_raw_has_had_all_along(shop: Domain, proposed) -> None:
    whole = shop.model_dump(mode="json", exclude_defaults=True)
    whole["fields"]["coupon"] = {"type": "string"}
    whole["views"][VIEW]["where"] = "coupon IS NULL"
    assert read_alternative(shop, proposed(whole), VIEW).views[VIEW].where == "coupon IS NULL"


def test_a_fragment_replaces_views_by_name_and_keeps_the_rest(shop: Domain, proposed) -> None:
    other = read_alternative(shop, proposed({"views": {VIEW: LARGE}}), "countries")
    assert other.views[VIEW].where == LARGE["where"]
    assert (other.views["countries"], other.views["others"]) == (shop.views["countries"], shop.views["others"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("views: [", r"other.yaml:1: not YAML"),
        ("just text", "expected a whole domain file, .* or `views:` alone, found no mapping"),
        ({"fields": {}, "views": {VIEW: REVENUE}}, "or `views:` alone, found fields, views"),
        ({"view": {VIEW: REVENUE}}, "or `views:` alone, found view"),
        ({"domain": "stocks", "event_time": "a", "fields": {}, "views": {}}, "other.yaml"),
        ({"views": {"others": REVENUE}}, f"defines others, and '{VIEW}' depends on none of that"),
        ({"views": {VIEW: {**REVENUE, "where": "contry = 'DE'"}}}, r"other.yaml:3: views.*'contry'.*'country'"),
        ({"views": {VIEW: {**REVENUE, "measures": {"revenue": {"summ": "amount"}}}}}, "'summ'.*'sum'"),
    ],
)
def test_a_definition_that_cannot_be_used_is_told_with_its_file(shop: Domain, proposed, content, message) -> None:
    with pytest.raises(BadDomain, match=message):
        read_alternative(shop, proposed(content), VIEW)


def test_what_cannot_be_compared_is_told(served: Served, proposed, tmp_path: Path) -> None:
    serving = Serving(served.settings, served.domain)
    with pytest.raises(BadDomain, match=r"nowhere\.yaml does not exist"):
        read_alternative(served.domain, tmp_path / "nowhere.yaml", VIEW)
    days = {**REVENUE, "group_by": {"country": "country", "day": "date_trunc('day', event_time)"}}
    other = read_alternative(served.domain, proposed({"views": {VIEW: days}}), VIEW)
    with pytest.raises(TidemarkError, match=r"grouped by country, hour, the alternative by country, day.*same names"):
        what_if(served.settings, serving, VIEW, other)
    with pytest.raises(TidemarkError, match="what is served has no view 'revenue_by_country'; did you mean"):
        what_if(served.settings, serving, "revenue_by_country")
    for text in ("users", "users@", "users@0", "@7", "users@new"):
        with pytest.raises(TidemarkError, match=f"'{text}' is no version of a dimension; write it like users@7"):
            parse_version(text)
    assert parse_version("users@7") == ("users", 7)


def test_rows_meet_by_their_keys_whatever_their_order_and_types() -> None:
    one = pa.table({"k": ["a", None, "b"], "n": [1, 2, None], "text": ["x", "y", "z"], "gone": [1, 1, 1]})
    other = pa.table({"k": [None, "b", "c"], "n": [2.5, 3.0, 4.0], "text": ["y", "z", "w"]})
    rows = {row.keys["k"]: row for row in compare(["k"], one, other)}
    assert {k: (row.side, row.differs) for k, row in rows.items()} == {
        "a": (PRODUCTION, True),
        None: (BOTH, True),
        "b": (BOTH, True),
        "c": (ALTERNATIVE, True),
    }
    assert rows[None].values["n"].difference == 0.5 and rows[None].values["text"].difference is None
    assert rows["b"].values["n"].difference is None
    assert [row.differs for row in compare(["k"], one.drop_columns(["gone"]), one)] == [False] * 3
    assert [row.keys for row in compare([], one.select(["n"])[:1], other.select(["n"])[:1])] == [{}]
