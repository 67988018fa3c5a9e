"""What a person gets wrong in a domain file, and what they are told."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from lake.domain import Domain, load_domain, load_domains, parse_domain
from lake.errors import BadDomain
from lake.expressions import ALLOWED_FUNCTIONS
from lake.fields import TYPES, EventField
from lake.inputs import Dedup, Dimension, Source
from lake.kernel import Kernel
from lake.settings import Settings
from lake.view import MeasureUse, Retention, View
from lake.yaml_file import read_yaml

SHIPPED = Settings().domains_dir


def test_every_shipped_domain_loads_and_compiles() -> None:
    domains = load_domains(SHIPPED)
    assert "shop" in domains
    for domain in domains.values():
        assert Kernel(domain).names


def _set(path: str, value: object):
    def edit(data: dict) -> None:
        *parents, last = path.split("/")
        for name in parents:
            data = data[name]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return edit


REVENUE = "views/revenue_by_country_hour"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_set("topik", "shop"), r"shop.yaml:\d+: topik: unknown key; did you mean 'topic'\?"),
        (_set("event_time", None), r"event_time: is missing"),
        (_set("event_time", "evnt_time"), r"'evnt_time' is no field; did you mean 'event_time'\?"),
        (_set("event_time", "user_id"), r"'user_id' must be a required timestamp"),
        (_set("partitions", 0), r"partitions: expected at least 1, found 0"),
        (_set("domain", "Shop"), r"domain: 'Shop' is no name"),
        (_set("domain", "other"), r"'other' must equal the file's name, 'shop'"),
        (_set("fields/amount/type", "money"), r"fields.amount: type 'money' is unknown; allowed: string"),
        (_set("fields/amount/type", "decimal(30,2)"), r"needs s <= p <= 18"),
        (_set("fields/amount/requird", True), r"fields.amount.requird: unknown key; did you mean 'required'\?"),
        (_set("fields/quantity/values", ["1"]), r"'values' is for strings, not for integer"),
        (_set("fields/country/min", 1), r"'min' and 'max' are for numbers and times, not for string"),
        (_set(f"{REVENUE}/wher", "true"), r"wher: unknown key; did you mean 'where'\?"),
        (_set(f"{REVENUE}/where", "event_typ = 'order'"), r"where: .*'event_typ', which is no field; did you mean"),
        (_set(f"{REVENUE}/where", "event_type ="), r"where: .*is not a SQL expression"),
        (_set(f"{REVENUE}/group_by/hour", "now()"), r"group_by.hour: .*'now', which is not in the list"),
        (_set(f"{REVENUE}/group_by/hour", "random()"), r"calls 'random'"),
        (_set(f"{REVENUE}/group_by/hour", "hash(user_id)"), r"calls 'hash'"),
        (_set(f"{REVENUE}/group_by/hour", "(SELECT 1)"), r"uses subquery"),
        (_set(f"{REVENUE}/group_by/hour", "sum(amount) OVER ()"), r"uses window"),
        (_set(f"{REVENUE}/group_by/hour", "1); DROP TABLE parsed; --"), r"not a SQL expression"),
        (_set(f"{REVENUE}/group_by/hour", "1), (2"), r"more than one expression"),
        (_set(f"{REVENUE}/group_by/hour", "1) FROM parsed WHERE (true"), r"more than one expression"),
        (_set(f"{REVENUE}/measures/orders", {"cout": "*"}), r"'cout' is no measure; did you mean 'count'\?"),
        (_set(f"{REVENUE}/measures/orders", {}), r"expected one measure such as {sum: amount}"),
        (_set(f"{REVENUE}/measures/revenue", {"sum": "amnt"}), r"revenue.sum: .*did you mean 'amount'\?"),
        (_set(f"{REVENUE}/measures/country", "count"), r"'country' is two of a key, a measure and a value"),
        (_set(f"{REVENUE}/measures", {}), r"measures: expected at least one measure"),
    ],
)
def test_a_mistake_is_told_with_file_field_and_fix(edit, said: str, tmp_path: Path) -> None:
    data = copy.deepcopy(read_yaml((SHIPPED / "shop.yaml").read_text()).data)
    edit(data)
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(BadDomain, match=said) as raised:
        load_domain("shop", tmp_path)
    assert str(tmp_path / "shop.yaml") in str(raised.value)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_set(f"{REVENUE}/measures/revenue", {"sum": "country"}), r"revenue: sum needs an integer or decimal"),
        (_set(f"{REVENUE}/group_by/hour", "[country]"), r"uses|is a VARCHAR\[\]|calls 'list_value'"),
        (_set(f"{REVENUE}/group_by/hour", "amount::DOUBLE"), r"group_by.hour: .*is a DOUBLE; a key is"),
    ],
)
def test_a_wrong_type_is_told_when_the_view_is_compiled(edit, said: str, tmp_path: Path) -> None:
    data = read_yaml((SHIPPED / "shop.yaml").read_text()).data
    edit(data)
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(BadDomain, match=said):
        Kernel(load_domain("shop", tmp_path))


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("a: [")
    with pytest.raises(BadDomain, match="not YAML"):
        load_domain("shop", tmp_path)
    with pytest.raises(BadDomain, match=r"does not exist; did you mean 'shop'\?"):
        load_domain("shpo", tmp_path)


def test_two_domains_may_not_have_a_view_of_one_name(tmp_path: Path) -> None:
    data = read_yaml((SHIPPED / "shop.yaml").read_text()).data
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(data))
    (tmp_path / "store.yaml").write_text(yaml.safe_dump(data | {"domain": "store"}))
    with pytest.raises(BadDomain, match="domain 'shop' has a view of that name"):
        load_domains(tmp_path)


REFERENCE = (Path(__file__).parents[2] / "docs/views.md").read_text()


@pytest.mark.parametrize("model", [Domain, EventField, Dedup, Dimension, Source, View, MeasureUse, Retention])
def test_every_key_of_a_domain_file_is_in_the_reference(model: type[BaseModel]) -> None:
    assert model.model_fields
    for name in model.model_fields:
        assert f"`{name}`" in REFERENCE, name


def test_the_reference_has_every_type_and_every_function() -> None:
    for word in [*TYPES, *(name for name in ALLOWED_FUNCTIONS if name.isidentifier() and "like" not in name)]:
        assert f"`{word}`" in REFERENCE, word


def test_the_example_of_the_reference_is_a_domain_and_its_tables_say_what_is_true() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL)
    domain = parse_domain(example, "views.md")
    assert Kernel(domain).names[:3] == ["revenue_by_country_hour", "top_tags_by_hour", "last_by_user"]
    for row in re.findall(r"^\| `.*\| `(.*)` \|$", REFERENCE, re.MULTILINE):
        assert isinstance(read_yaml(row).data, dict), row
