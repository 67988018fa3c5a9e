"""What a new version of a domain may change, what becomes live at once, and that two changes at once are two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from deltalake import DeltaTable

from lake import registry
from lake.compatibility import check_compatible
from lake.domain import Domain, load_domain, load_domains, read_domain
from lake.errors import BadDomain, TidemarkError
from lake.registry import Registry, live_domain, written
from lake.settings import Settings
from tests.faults.parts import run

SHOP = load_domain("shop", Settings().domains_dir)
REVENUE = "revenue_by_country_hour"
Change = Callable[[dict], object]


def changed(domain: Domain, change: Change) -> Domain:
    content = yaml.safe_load(written(domain))
    change(content)
    return read_domain(content, "changed.yaml")


def _no_cents(content: dict) -> None:
    """A changed definition: orders below one euro do not count."""
    content["views"][REVENUE]["where"] = "event_type = 'order' AND amount >= 1"


def _optional_field(content: dict) -> None:
    content["fields"]["voucher"] = {"type": "string"}


def _read_time_parts(content: dict) -> None:
    content["description"] = "another"
    content["views"][REVENUE] |= {"values": {"per_order": "revenue / orders"}, "order_by": ["revenue desc"], "limit": 9}


@pytest.mark.parametrize("domain", load_domains(Settings().domains_dir).values(), ids=lambda domain: domain.name)
def test_what_is_written_reads_back_as_the_same_domain(domain: Domain) -> None:
    assert read_domain(yaml.safe_load(written(domain)), "written.yaml") == domain


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(topic="other"), r"topic: was shop, is other; .* declare a new domain"),
        (lambda c: c.update(partitions=8), r"partitions: was 4, is 8"),
        (lambda c: c["fields"].update(item=c["fields"].pop("amount")), r"amount: was .*is gone.*renamed to 'item'\?"),
        (
            lambda c: c["fields"].pop("event_id"),
            r"event_id: was a required string, is gone, and it was required",
        ),
        (lambda c: c["fields"]["quantity"].update(type="string", min=None, max=None), r"type: was integer, is string"),
        (lambda c: c["fields"]["page"].update(required=True), r"fields.page.required: was optional, is required"),
        (lambda c: c["fields"].update(new={"type": "string", "required": True}), r"fields.new: is new and required"),
        (lambda c: c["fields"]["event_type"]["values"].remove("logout"), r"event_type.values: had logout"),
        (lambda c: c["fields"]["country"].update(values=["DE"]), r"country.values: was any string, is DE"),
        (lambda c: c["fields"]["quantity"].update(max=100), r"quantity.max: was 10000, is 100; .* only become wider"),
        (lambda c: c["fields"]["quantity"].update(min=2), r"quantity.min: was 1, is 2"),
        (lambda c: c["fields"]["user_id"].update(max=None, values=["a"]), r"user_id.values: was any"),
    ],
)
def test_what_old_events_could_not_be_read_by_is_refused_with_what_to_do(change: Change, says: str) -> None:
    base = changed(SHOP, lambda c: c["views"].update({name: v for name, v in c["views"].items() if name == REVENUE}))
    content = yaml.safe_load(written(base))
    content["views"] = {}
    change(content)
    content["views"] = {"events": {"measures": {"events": {"kind": "count", "of": "*"}}}}
    with pytest.raises(BadDomain, match=says):
        check_compatible(read_domain(content, "changed.yaml"), [base])


@pytest.mark.parametrize(
    "change",
    [
        _optional_field,
        _read_time_parts,
        _no_cents,
        lambda c: c["fields"]["quantity"].update(max=20_000),
        lambda c: c["fields"]["event_type"]["values"].append("refund"),
        lambda c: c["fields"]["country"].pop("required"),
    ],
)
def test_what_old_events_fit_is_accepted(change: Change) -> None:
    check_compatible(changed(SHOP, change), [SHOP])


def test_a_field_cannot_come_back_as_another_type() -> None:
    with_it = changed(SHOP, _optional_field)
    again = changed(SHOP, lambda c: c["fields"].update(voucher={"type": "integer"}))
    check_compatible(again, [SHOP])
    with pytest.raises(BadDomain, match=r"voucher.type: was string, is integer"):
        check_compatible(again, [with_it, SHOP])


def test_the_first_version_is_live_at_once_and_so_is_one_that_keeps_every_state(sandbox) -> None:
    known, name = Registry(sandbox.settings), sandbox.domain.name
    assert known.live(name) is None and live_domain(sandbox.settings, name) == sandbox.domain
    assert known.declare(sandbox.domain).number == known.declare(sandbox.domain).number == 1
    for number, change in enumerate((_optional_field, _read_time_parts), start=2):
        wish = changed(known.live(name).domain, change)
        assert known.declare(wish).number == number
        assert known.live(name).number == number
    assert live_domain(sandbox.settings, name) == wish
    assert [v.number for v in known.history(name).versions] == [1, 2, 3]


def test_a_changed_definition_waits_until_it_is_promoted(sandbox) -> None:
    known, name, now = Registry(sandbox.settings), sandbox.domain.name, datetime.now(UTC)
    known.declare(sandbox.domain)
    second = known.declare(changed(sandbox.domain, _no_cents))
    assert (known.live(name).number, second.number) == (1, 2)
    assert [v.number for v in known.history(name).running(now, 60)] == [1]
    known.built(name, 2)
    assert [v.number for v in known.history(name).running(now, 60)] == [1, 2]
    known.promote(name, 2)
    known.promote(name, 2)
    history = known.history(name)
    assert [v.number for v in history.running(datetime.now(UTC), 60)] == [2, 1]
    assert [v.number for v in history.running(now + timedelta(seconds=90), 60)] == [2]
    assert history.changes == 5


def test_of_two_wishes_only_the_newest_can_become_live(sandbox) -> None:
    known, name = Registry(sandbox.settings), sandbox.domain.name
    known.declare(sandbox.domain)
    known.declare(changed(sandbox.domain, _no_cents))
    known.declare(changed(sandbox.domain, lambda c: c["views"][REVENUE].update(where="event_type = 'login'")))
    known.built(name, 2)
    assert [v.number for v in known.history(name).running(datetime.now(UTC), 60)] == [1]
    with pytest.raises(TidemarkError, match=f"version 3 was declared since; run `tidemark redefine {name}`"):
        known.promote(name, 2)
    assert known.live(name).number == 1


def test_what_cannot_be_accepted_leaves_no_trace(sandbox) -> None:
    known, name = Registry(sandbox.settings), sandbox.domain.name
    known.declare(sandbox.domain)
    with pytest.raises(BadDomain, match="partitions: was"):
        known.declare(changed(sandbox.domain, lambda c: c.update(partitions=99)))
    assert known.history(name).changes == 2


def test_the_command_line_declares_a_file_and_shows_the_versions(sandbox) -> None:
    name, environment = sandbox.domain.name, sandbox.environment
    file = sandbox.settings.domains_dir / f"{name}.yaml"
    assert run(environment, "lake.cli", "domain", "declare", name, "--json")["live"] == 1
    file.write_text(written(changed(sandbox.domain, _no_cents)))
    assert run(environment, "lake.cli", "domain", "declare", name, "--json") == {
        "domain": name,
        "version": 2,
        "live": 1,
    }
    shown = run(environment, "lake.cli", "domain", "versions", name, "--json")["versions"]
    assert [(version["version"], version["is"]) for version in shown] == [(1, "live"), (2, "declared")]


def _at_once(sandbox, wishes: list[Domain]) -> list[int]:
    together = threading.Barrier(len(wishes))

    def declare(wish: Domain) -> int:
        together.wait()
        return Registry(sandbox.settings).declare(wish).number

    with ThreadPoolExecutor(len(wishes)) as pool:
        return list(pool.map(declare, wishes))


def _thresholds(sandbox) -> list[Domain]:
    def at_least(amount: int) -> Change:
        return lambda c: c["views"][REVENUE].update(where=f"event_type = 'order' AND amount >= {amount}")

    return [changed(sandbox.domain, at_least(amount)) for amount in range(1, 5)]


def test_versions_declared_at_once_are_numbered_without_a_hole(sandbox) -> None:
    Registry(sandbox.settings).declare(sandbox.domain)
    _at_once(sandbox, _thresholds(sandbox))
    history = Registry(sandbox.settings).history(sandbox.domain.name)
    assert [v.number for v in history.versions] == [1, 2, 3, 4, 5]
    assert len({v.content for v in history.versions}) == 5


def test_negative_control_without_the_comparison_versions_overwrite_each_other(sandbox, monkeypatch) -> None:
    def append(self: Registry, table: DeltaTable, rows) -> None:
        registry.write_deltalake(table, rows, mode="append")

    monkeypatch.setattr(Registry, "_append", append)
    Registry(sandbox.settings).declare(sandbox.domain)
    _at_once(sandbox, _thresholds(sandbox))
    assert len(Registry(sandbox.settings).history(sandbox.domain.name).versions) < 5
