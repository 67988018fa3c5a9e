"""Every mistake a person can make in a domain file is told once: file, line, place, what was found, what is allowed."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lake.cli import app
from lake.domain import load_domain, load_domains, parse_domain
from lake.errors import BadDomain

GOOD = """\
domain: shop
description: a web shop
topic: shop
partitions: 4
event_time: time
fields:
  time: {type: timestamp_ms, required: true}
  country: {type: string, required: true}
  user_id: {type: string, required: true, values: [a, b]}
  amount: {type: "decimal(12,2)", min: 0, max: 10}
  end: {type: integer}
  weight: {type: double}
  tags: {type: list(string)}
dedup:
  key: user_id
  segments: 6
dimensions:
  users:
    on: user_id
    columns: {tier: string}
views:
  sales:
    description: what is sold
    units: {revenue: EUR}
    each: {tag: tags}
    where: country <> 'XX'
    group_by:
      country: country
      hour: date_trunc('hour', time)
    measures:
      revenue: {sum: amount}
      orders: count
      sizes: {quantiles: {of: amount, at: [0.5]}}
    values:
      mean: revenue / orders
    having: orders > 1
    order_by: [revenue desc]
    limit: 10
    per: [hour]
    retention: {key: hour, days: 30}
  best:
    over: sales
    group_by:
      country: country
    measures:
      most: {max: revenue}
"""


def row(old: str, new: str, *said: str):
    """GOOD with `old` become `new`, where # ! marks the line that must be told; `said` must be in the sentence."""
    return pytest.param(old, new, said, id=said[0])


DOMAIN = [
    row("topic: shop", "topik: shop  # !", "topik: unknown key; did you mean 'topic'?"),
    row("event_time: time\n", "", "event_time: is missing; needed here: domain, event_time, fields, views"),
    row("event_time: time", "event_time: tim  # !", "event_time: 'tim' is no field; did you mean 'time'?"),
    row("  time: {", "  tim: {", "event_time: 'time' is no field; did you mean 'tim'? (also in 29)"),
    row("event_time: time", "event_time: country  # !", "event_time: field 'country'", "found a required string"),
    row("partitions: 4", "partitions: 0  # !", "partitions: expected at least 1, found 0"),
    row("partitions: 4", "partitions: many  # !", "partitions: expected a whole number, found 'many'"),
    row("partitions: 4", "partitions: 4.5  # !", "partitions: expected a whole number, found 4.5"),
    row("domain: shop", "domain: Shop  # !", "domain: 'Shop' is no name; expected lower-case letters"),
    row("domain: shop", "domain: 7  # !", "domain: expected text, found 7; write '7'"),
    row("domain: shop", "domain: store  # !", "domain: 'store' must equal the file's name, 'shop'"),
    row("domain: shop\n", "", "domain: is missing; needed here: domain"),
    row("topic: shop", "topic: my shop  # !", "topic: 'my shop' is no topic; expected at most 249 letters"),
    row("partitions: 4", "format: jsn  # !", "format: 'jsn' is no format; did you mean 'json'?"),
    row(
        "partitions: 4",
        "format: {csv: {delimitr: ';'}}  # !",
        "format.csv.delimitr: unknown",
        "did you mean 'delimiter'?",
    ),
]
FIELDS = [
    row("type: double", "type: dubble} # !", "fields.weight: type 'dubble' is unknown; allowed: string", "'double'?"),
    row("decimal(12,2)", "decimal(30,2)", "fields.amount: 'decimal(30,2)'", "s <= p <= 18"),
    row("{type: double}", "{typ: double}  # !", "fields.weight.typ: unknown key; did you mean 'type'?"),
    row("{type: double}", "double  # !", "fields.weight: expected a mapping such as {key: value}, found 'double'"),
    row(
        "{type: double}", "{type: double, required: perhaps}  # !", "required: expected true or false, found 'perhaps'"
    ),
    row("{type: double}", "{type: double, min: low}  # !", "fields.weight.min: expected a number, found 'low'"),
    row("min: 0, max: 10}", "min: 10, max: 0}  # !", "fields.amount: no value is at least min, 10, and at most max, 0"),
    row(
        "{type: double}", "{type: double, values: [a]}  # !", "'values' is for strings, not for double; use min and max"
    ),
    row("[a, b]", "[a, 2]", "fields.user_id.values.1: expected text, found 2; write '2'"),
    row("[a, b]", "a", "fields.user_id.values: expected a list such as [a], found 'a'"),
    row("weight:", "Weight:", "fields.Weight: 'Weight' is no name"),
    row("weight:", "12:", "fields.12: 12 is no name"),
    row("weight:", "offset:", "fields.offset: 'offset' is a column that every record has"),
]
REPEATS = [
    row(
        "key: user_id",
        "key: usr_id  # !",
        "dedup.key: 'usr_id' names 'usr_id', which is no field; did you mean 'user_id'?",
    ),
    row("segments: 6", "segments: 0  # !", "dedup.segments: expected at least 1, found 0"),
    row("  segments: 6\n", "", "dedup.segments: is missing; needed here: key, segments"),
]
DIMENSIONS = [
    row(
        "  users:\n    on",
        "  country:  # !\n    on",
        "dimensions.country: there is a field called 'country'; rename one",
    ),
    row("    on: user_id\n", "", "dimensions.users.on: is missing; needed here: on, columns"),
    row("on: user_id", "on: user  # !", "dimensions.users.on: 'user' names 'user', which is no field", "'user_id'?"),
    row("{tier: string}", "{tier: strng}  # !", "dimensions.users.columns.tier: type 'strng' is unknown"),
    row("{tier: string}", "{tier: list(string)}  # !", "a dimension's column cannot be a list(string)"),
    row(
        "country <> 'XX'",
        "users.teir = 'a'  # !",
        "views.sales.where:",
        "'users.teir', which is no field",
        "'users.tier'?",
    ),
]
VIEWS = [
    row("  sales:\n", "  Sales:  # !\n", "views.Sales: 'Sales' is no name"),
    row("where:", "wher:", "views.sales.wher: unknown key; did you mean 'where'?"),
    row("where: country <> 'XX'", "where: true  # !", "views.sales.where: expected text, found true; write 'true'"),
    row("where: country <> 'XX'", "where: countr = 'a'  # !", "'countr', which is no field; did you mean 'country'?"),
    row("where: country <> 'XX'", "where: country =  # !", "where: 'country =' is not a SQL expression: syntax error"),
    row(
        "where: country <> 'XX'",
        "where: end > 1  # !",
        "where: 'end > 1' is not",
        "'end' is a word of SQL: write \"end\"",
    ),
    row("where: country <> 'XX'", "where: ''  # !", "views.sales.where: expected a SQL expression, found nothing"),
    row(
        "where: country <> 'XX'", 'where: country = "XX"  # !', "names 'XX', which is no field", "text is written 'XX'"
    ),
    row("where: country <> 'XX'", "where: country  # !", "where: 'country' is a VARCHAR; expected a condition"),
    row("where: country <> 'XX'", "where: amount > time  # !", "where: Cannot compare values of type", "TIMESTAMP"),
    row("where: country <> 'XX'", "where: 1) UNION SELECT (2  # !", "is more than one expression; expected one"),
    row("where: country <> 'XX'", "where: 1) ORDER BY (2  # !", "ORDER BY (2' is more than one expression"),
    row("date_trunc('hour', time)", "date_trnc('hour', time)  # !", "calls 'date_trnc'", "did you mean 'date_trunc'?"),
    row(
        "date_trunc('hour', time)",
        "now()  # !",
        "calls 'now', which is not in the list of deterministic functions; each run would give another answer",
    ),
    row(
        "date_trunc('hour', time)",
        "random()  # !",
        "calls 'random'",
        "each run would give another answer: take a digest of a field, as in md5(x)",
    ),
    row(
        "date_trunc('hour', time)",
        "CURRENT_DATE  # !",
        "names 'CURRENT_DATE', which is no field; each run would give another answer: use a time of the event",
    ),
    row("date_trunc('hour', time)", "to_char(weight)  # !", "deterministic functions; docs/views.md has the list"),
    row("date_trunc('hour', time)", "sum(amount)  # !", "calls 'sum'", "'sum' is a measure: declare it under measures"),
    row("date_trunc('hour', time)", "(SELECT 1)  # !", "uses subquery, but an expression here is one scalar"),
    row("date_trunc('hour', time)", "sum(1) OVER ()  # !", "views.sales.group_by.hour:", "uses window"),
    row("date_trunc('hour', time)", "weight  # !", "group_by.hour: 'weight' is a DOUBLE; a key is a string"),
    row(
        "date_trunc('hour', time)",
        "date_trunc('hour', 5)  # !",
        "group_by.hour: No function matches",
        "expected date_trunc(",
    ),
    row(
        "group_by:\n      country: country\n      hour: ",
        "group_by:  # !\n      - country\n      - ",
        "group_by: expected a mapping",
    ),
    row("{tag: tags}", "{tag: tags, b: tags}  # !", "views.sales.each: expected at most 1, found 2"),
    row("{tag: tags}", "{tag: country}  # !", "views.sales.each.tag: 'country' is a VARCHAR; expected a list"),
    row("{tag: tags}", "{weight: tags}  # !", "views.sales.each.weight: there is a field called 'weight' already"),
]
MEASURES = [
    row("{sum: amount}", "{sm: amount}  # !", "measures.revenue: 'sm' is no measure; did you mean 'sum'?"),
    row("{sum: amount}", "sum(amount)  # !", "measures.revenue: 'sum(amount)' is no measure; write {sum: amount}"),
    row("{sum: amount}", "sum  # !", "measures.revenue: 'sum' needs an expression; write {sum: expression}"),
    row("{sum: amount}", "{}  # !", "measures.revenue: expected one measure such as {sum: amount}, found {}"),
    row("{sum: amount}", "{sum: 5}  # !", "'sum' needs 'of', the expression that is measured, found 5"),
    row("{sum: amount}", "{sum: '*'}  # !", "'sum' needs an expression, not '*', which only count takes"),
    row("{sum: amount}", "{sum: amont}  # !", "revenue.sum: 'amont' names 'amont', which is no field", "'amount'?"),
    row("{sum: amount}", "{sum: weight}  # !", "views.sales.measures.revenue: sum", "integer", "found DOUBLE"),
    row("orders: count", "orders: {any: country}  # !", "measures.orders: any", "VARCHAR"),
    row(
        "mean: revenue",
        "country: revenue",
        "values.country: column 'country' is two of a key, a measure and a value; rename one",
    ),
    row("at: [0.5]", "att: [0.5]", "measures.sizes: 'quantiles': option 'at': is missing"),
    row("at: [0.5]", "at: [50]", "measures.sizes: 'quantiles': option 'at'"),
    row("orders: count", "orders: {top: {of: country, kk: 3}}  # !", "option 'kk': unknown key; did you mean 'k'?"),
    row(
        "orders: count",
        "orders: {top: country, k: 3}  # !",
        'found {"top": "country", "k": 3}; options stand with the expression: write {top: {of: country, k: 3}}',
    ),
    row("{sum: amount}", "{sim: amount}  # !", "measures.revenue: 'sim' is no measure; known: all, any, avg"),
    row("{sum: amount}", "{SUM: amount}  # !", "measures.revenue: 'SUM' is no measure; did you mean 'sum'?"),
    row("orders: count", "orders: {top: {of: country, k: 0}}  # !", "'top': option 'k': expected at least 1, found 0"),
]
READING = [
    row(
        "revenue / orders", "revenue / ordrs  # !", "values.mean:", "no column of view 'sales'; did you mean 'orders'?"
    ),
    row("revenue / orders", "revenue || tags  # !", "values.mean:", "names 'tags', which is no column of view 'sales'"),
    row("revenue / orders", "revenue / hour  # !", "views.sales.values.mean: No function matches", "DECIMAL"),
    row("having: orders > 1", "having: order > 1  # !", "views.sales.having: 'order > 1' is not a SQL expression"),
    row("having: orders > 1", "having: sum(orders) > 1  # !", "having:", "calls 'sum'", "'sum' is a measure"),
    row("having: orders > 1", "having: orders  # !", "having: 'orders' is a BIGINT; expected a condition"),
    row(
        "[revenue desc]",
        "[revenu desc]  # !",
        "order_by.0: 'revenu' is no column of view 'sales'; did you mean 'revenue'?",
    ),
    row(
        "[revenue desc]",
        "[revenue down]  # !",
        "order_by.0: 'down' is no order; expected 'revenue asc' or 'revenue desc'",
    ),
    row(
        "[revenue desc]", "revenue desc  # !", "order_by: expected a list such as [revenue desc], found 'revenue desc'"
    ),
    row("    order_by: [revenue desc]\n    limit: 10", "    limit: 10  # !", "views.sales.limit: needs order_by"),
    row("limit: 10", "limit: 0  # !", "views.sales.limit: expected at least 1, found 0"),
    row("    limit: 10\n    per: [hour]", "    per: [hour]  # !", "views.sales.per: needs limit, the number of rows"),
    row("per: [hour]", "per: [revenue]  # !", "per.0: 'revenue' is no key of group_by; known: country, hour"),
    row("key: hour", "key: huor", "retention.key: 'huor' is no key of group_by; did you mean 'hour'?"),
    row("key: hour", "key: country", "retention.key: 'country' is a VARCHAR; expected a key that is a time"),
    row("days: 30", "days: 0", "views.sales.retention.days: expected at least 1, found 0"),
    row("{revenue: EUR}", "{revnue: EUR}  # !", "units.revnue: 'revnue' is no column of view 'sales'", "'revenue'?"),
    row("over: sales", "over: sale  # !", "views.best.over: 'sale' is no view of this domain; did you mean 'sales'?"),
    row("over: sales", "over: best  # !", "views.best.over: best over best: a view cannot be over itself"),
    row(
        "{max: revenue}", "{max: amount}  # !", "most.max: 'amount' names 'amount', which is no column of view 'sales'"
    ),
    row("{max: revenue}", "{last: revenue}  # !", "views.best.measures.most: first and last need events"),
]
YAML = [
    row("partitions: 4", "domain: shop  # !", "domain: is there twice, first in line 1; remove or rename one"),
    row(
        "      orders: count",
        "      orders: count\n      orders: count  # !",
        "views.sales.measures.orders: is there twice",
    ),
    row(
        "{sum: amount}",
        "{sum: coalesce(amount, 0)}  # !",
        "views.sales.measures.revenue.sum: a comma ends a value within braces, so '0)' is no part of it",
        "as in sum: 'coalesce(amount, 0)'",
    ),
    row(
        "{type: double}",
        "{type: decimal(12,2), min: 0}  # !",
        "fields.weight.type: a comma ends a value within braces",
        "as in type: 'decimal(12, 2)'",
    ),
    row("    where:", "\twhere:", "not YAML: a tab is no indentation; indent with spaces"),
    row("a web shop", "a shop: on the web  # !", "not YAML: mapping values are not allowed here", "goes into quotes"),
    row("country <> 'XX'", "'XX' <> country  # !", "not YAML: expected <block end>", "goes into quotes as a whole"),
    row("having: orders > 1", "having: > 1  # !", "a value that begins with > or | goes into quotes"),
    row("orders: count", "orders: {count: *}  # !", "a value that begins with * or & goes into quotes"),
    row(
        "{max: revenue}",
        "{max: 'revenue}",
        "not YAML: found unexpected end of stream; a quote or a bracket is not closed",
    ),
    row("a web shop", "@shop  # !", "cannot start any token; a value that begins with @, ` or % goes into quotes"),
    row("partitions: 4", "---  # !", "a file holds one domain, and '---' begins a second document"),
    row(GOOD, "- shop", "expected a mapping with domain, event_time, fields and views, found", '["shop"]'),
    row(GOOD, "", "expected a mapping with domain, event_time, fields and views, found nothing"),
]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [*DOMAIN, *FIELDS, *REPEATS, *DIMENSIONS, *VIEWS, *MEASURES, *READING, *YAML],
)
def test_a_mistake_is_told_once_with_file_line_place_and_fix(
    old: str, new: str, said: tuple[str, ...], tmp_path: Path
) -> None:
    assert GOOD.count(old) == 1
    path, text = tmp_path / "shop.yaml", GOOD.replace(old, new)
    path.write_text(text)
    with pytest.raises(BadDomain) as raised:
        load_domain("shop", tmp_path)
    [sentence] = str(raised.value).splitlines()
    for part in said:
        assert part in sentence
    lines = [number for number, line in enumerate(text.splitlines(), start=1) if "# !" in line]
    place = f"{path}:{lines[0]}: " if lines else f"{path}:"
    assert sentence.startswith(place)


def test_the_file_that_the_mistakes_are_made_in_has_none(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD)
    assert list(load_domains(tmp_path)["shop"].views) == ["sales", "best"]


def test_words_that_older_yaml_takes_for_booleans_and_numbers_are_words(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD.replace("[a, b]", "[no, NO, yes, on, 12:30, 2026-01-01]"))
    assert load_domain("shop", tmp_path).fields["user_id"].values == ("no", "NO", "yes", "on", "12:30", "2026-01-01")


def test_a_field_that_is_misspelled_where_it_is_declared_is_one_mistake_with_all_its_lines(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD.replace("  amount: {", "  amuont: {"))
    with pytest.raises(BadDomain) as raised:
        load_domain("shop", tmp_path)
    [sentence] = str(raised.value).splitlines()
    assert "shop.yaml:31: views.sales.measures.revenue.sum: 'amount' names 'amount', which is no field" in sentence
    assert sentence.endswith("did you mean 'amuont'? (also in 33)")


def test_different_mistakes_are_all_told_in_the_order_of_their_lines(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(
        GOOD.replace("key: user_id", "key: a").replace("    limit: 10\n", "").replace("at: timet", "at: b")
    )
    with pytest.raises(BadDomain) as raised:
        load_domain("shop", tmp_path)
    first, second = str(raised.value).splitlines()
    assert "shop.yaml:15: dedup.key: " in first and "shop.yaml:38: views.sales.per: needs limit" in second


def _other(name: str, *more: str) -> str:
    fields = "fields: {at: {type: timestamp_ms, required: true}}"
    return "\n".join([f"domain: {name}", "event_time: at", fields, "views: {}", *more])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "sources: [{domain: b}]"}, "a.yaml:5: sources.0.domain: 'b' is no other domain; known: shop"),
        ({"a": "sources: [{domain: a}]"}, "a.yaml:5: sources.0.domain: 'a' is no other domain"),
        (
            {"a": "sources:\n - {domain: shop, where: countri = 'DE'}"},
            "a.yaml:6: sources.0.where: 'countri = 'DE'' names 'countri', which is no field of shop; did you mean",
        ),
        ({"a": "sources: [{domain: shop, key: now()}]"}, "a.yaml:5: sources.0.key: 'now()' calls 'now'"),
        (
            {"a": "sources: [{domain: shop, wher: a}]"},
            "a.yaml:5: sources.0.wher: unknown key; did you mean 'where'?",
        ),
        (
            {"a": "sources: [{domain: shop}, {domain: b}]", "b": "sources: [{domain: shop}]", "c": ""},
            None,
        ),
        (
            {"a": "sources: [{domain: c}]", "b": "sources: [{domain: c}]", "c": "sources: [{domain: b}]"},
            "b.yaml:5: sources.0: b from c from b: events would go round for ever",
        ),
    ],
)
def test_what_is_wrong_between_domains_is_told(files: dict[str, str], said: str | None, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD)
    for name, more in files.items():
        (tmp_path / f"{name}.yaml").write_text(_other(name, more))
    if said is None:
        assert load_domains(tmp_path).keys() == {"shop", *files}
        return
    with pytest.raises(BadDomain) as raised:
        load_domains(tmp_path)
    assert said in str(raised.value)


def test_check_tells_the_mistakes_of_all_files_and_shows_what_is_declared(tmp_path: Path) -> None:
    good, bad, worse = (tmp_path / folder / "shop.yaml" for folder in ("good", "bad", "worse"))
    for path, text in ((good, GOOD), (bad, GOOD.replace("sum:", "smu:")), (worse, "a: [")):
        path.parent.mkdir()
        path.write_text(text)
    fine = CliRunner().invoke(app, ["check", str(good)])
    assert fine.exit_code == 0
    for part in ("sizes_p50 = quantiles(amount, at: [0.5])", "mean = revenue / orders  (at read)", "over sales"):
        assert part in fine.output
    wrong = CliRunner().invoke(app, ["check", *map(str, (good, bad, worse, tmp_path / "shpo.yaml"))])
    assert wrong.exit_code == 1
    told = wrong.stderr.splitlines()
    assert told[0].startswith(f"{bad}:31: views.sales.measures.revenue: 'smu' is no measure; did you mean 'sum'?")
    assert told[1].startswith(f"{worse}:1: not YAML")
    assert "shpo.yaml does not exist" in told[2]


JUNK = (
    *(
        "5",
        "true",
        "null",
        "[]",
        "{}",
        "[a, b]",
        "{a: b}",
        "''",
        "'x",
        "@",
        "*",
        "- a",
        "a: b: c",
        "sum(amount)",
        '"q"',
    ),
    *(
        "1.5e400",
        "99999999999999999999999",
        "{of: 1}",
        "&a [*a]",
        "!!binary x",
        "|",
        "> x",
        "? a",
        "\u2028",
        "\a",
        "1) --",
    ),
)


def test_whatever_is_done_to_a_line_is_fine_or_told_with_a_line() -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    print(f"TEST_SEED={seed}")
    chance = random.Random(seed)
    for _ in range(100):
        lines = GOOD.splitlines()
        at, junk = chance.randrange(len(lines)), chance.choice(JUNK)
        key = lines[at].split(":")[0]
        word = chance.choice(re.findall(r"\w+", lines[at]))
        edits = ("", f"{lines[at]} {junk}", f"{key}: {junk}", lines[at].replace(word, junk), f"  {lines[at]}", word)
        lines[at] = chance.choice(edits)
        try:
            parse_domain("\n".join(lines), "shop.yaml", "shop")
        except BadDomain as error:
            for sentence in str(error).splitlines():
                assert re.match(r"shop\.yaml:\d+: \S", sentence), (lines[at], sentence)
