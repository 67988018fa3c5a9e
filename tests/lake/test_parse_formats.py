"""Records in each format: one verdict each, values as strict as in JSON, and never a query that fails."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lake.domain import Domain, read_domain
from lake.errors import BadDomain
from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.parse import parse_sql
from lake.raw_schema import RAW_SCHEMA

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHOP_FIELDS = {
    "id": {"type": "string", "required": True},
    "at": {"type": "timestamp_ms", "required": True},
    "amount": {"type": "decimal(8,2)", "min": 0},
    "weight": {"type": "double"},
    "pieces": {"type": "integer", "max": 100},
    "paid": {"type": "boolean"},
    "seen": {"type": "timestamp"},
    "kind": {"type": "string", "values": ["a", "b"]},
}
ACCESS_LOG = (
    r'(?P<host>\S+) \S+ (?:-|(?P<person>\S+)) \[(?P<stamp>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+) [^"]*" '
    r'(?P<status>\d{3}) (?:-|(?P<bytes>\d+))(?: "(?P<referrer>[^"]*)" "(?P<agent>[^"]*)")?'
)
ACCESS_FIELDS = {
    "host": {"type": "string", "required": True},
    "person": {"type": "string"},
    "stamp": {"type": "timestamp(%d/%b/%Y:%H:%M:%S %z)", "required": True},
    "method": {"type": "string", "required": True, "values": ["GET", "HEAD", "POST"]},
    "path": {"type": "string", "required": True},
    "status": {"type": "integer", "required": True, "min": 100, "max": 599},
    "bytes": {"type": "integer"},
    "referrer": {"type": "string"},
    "agent": {"type": "string"},
}
LINE = '203.0.113.9 - ada [21/Nov/2026:13:00:00 +0100] "GET /cart?x=1 HTTP/1.1" 200 5120 "https://a.example/" "curl/8"'


def domain(format: object, fields: dict | None = None, event_time: str = "at", **more: object) -> Domain:
    declared = {
        "domain": "sample",
        "event_time": event_time,
        "format": format,
        "fields": fields or SHOP_FIELDS,
        "views": {"events": {"measures": {"events": "count"}}},
    }
    return read_domain({**declared, **more}, "sample.yaml")


@cache
def access_log() -> Domain:
    views = {
        "hits": {
            "group_by": {"hour": "date_trunc('hour', stamp)", "status": "status"},
            "measures": {"hits": "count", "bytes": {"sum": "bytes"}},
        }
    }
    return domain({"regex": ACCESS_LOG}, ACCESS_FIELDS, "stamp", views=views)


def records(values: list[bytes | None]) -> pa.Table:
    columns = [
        pa.array([0] * len(values), pa.int32()),
        pa.array(range(len(values)), pa.int64()),
        pa.array([NOON + timedelta(milliseconds=i) for i in range(len(values))], pa.timestamp("us", "UTC")),
        pa.array([b"k"] * len(values), pa.binary()),
        pa.array(values, pa.binary()),
        pa.array([[]] * len(values), RAW_SCHEMA.field("headers").type),
    ]
    return pa.Table.from_arrays(columns, schema=RAW_SCHEMA)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(config={"threads": 1})
    db.execute("SET TimeZone = 'UTC'")
    return db


def parsed(declared: Domain, values: list[bytes | None]) -> list[dict]:
    """Each record as the kernel's parse sees it."""
    _database().register("batch", records(values))
    sql = f'{parse_sql(declared, "batch")} ORDER BY "offset"'
    return _database().sql(sql).to_arrow_table().to_pylist()


def reasons(declared: Domain, values: list[bytes | None]) -> list[str | None]:
    return [row["reason"] for row in parsed(declared, values)]


def cells(**changes: str) -> bytes:
    good = {
        "id": "e1",
        "at": "1795262400000",
        "amount": "12.30",
        "weight": "1.5e3",
        "pieces": "7",
        "paid": "true",
        "seen": "2026-11-21T13:00:00+01:00",
        "kind": "a",
    }
    return ",".join({**good, **changes}.values()).encode()


def test_a_csv_record_gives_the_values_that_its_text_says() -> None:
    [row] = parsed(domain("csv"), [cells()])
    assert {name: row[name] for name in SHOP_FIELDS} == {
        "id": "e1",
        "at": NOON.replace(tzinfo=None),
        "amount": Decimal("12.30"),
        "weight": 1500.0,
        "pieces": 7,
        "paid": True,
        "seen": NOON.replace(tzinfo=None),
        "kind": "a",
    }
    assert (row["reason"], row["flaws"]) == (None, 0)


@pytest.mark.parametrize(
    ("record", "reason", "flaws"),
    [
        (cells(), None, 0),
        (cells() + b"\n", None, 0),
        (cells() + b"\r\n", None, 0),
        (cells(amount="", weight="", pieces="", paid="", seen="", kind=""), None, 0),
        (cells(id='"a ""b"", c\r\n d"'), None, 0),
        (cells(id='""'), None, 0),
        (cells(id=""), "missing:id", 1),
        (cells(at=""), "missing:at", 1),
        (cells(at="2026-11-21"), "wrong_type:at", 1),
        (cells(at=" 1795262400000"), "wrong_type:at", 1),
        (cells(at="-1"), "out_of_range:at", 1),
        (cells(at="99999999999999999"), "out_of_range:at", 1),
        (cells(at="9" * 30), "wrong_type:at", 1),
        (cells(amount="1e3"), "wrong_type:amount", 2),
        (cells(amount="1.234"), "wrong_type:amount", 2),
        (cells(amount="-0.01"), "out_of_range:amount", 2),
        (cells(weight="nan"), "wrong_type:weight", 4),
        (cells(weight="1e999"), "wrong_type:weight", 4),
        (cells(weight="0x10"), "wrong_type:weight", 4),
        (cells(pieces="7.0"), "wrong_type:pieces", 8),
        (cells(pieces="+7"), "wrong_type:pieces", 8),
        (cells(pieces="1_0"), "wrong_type:pieces", 8),
        (cells(pieces='""'), "wrong_type:pieces", 8),
        (cells(pieces="101"), "out_of_range:pieces", 8),
        (cells(paid="TRUE"), "wrong_type:paid", 16),
        (cells(paid="1"), "wrong_type:paid", 16),
        (cells(seen="2026-11-21"), "wrong_type:seen", 32),
        (cells(seen="2026-11-21T13:00:00"), "wrong_type:seen", 32),
        (cells(seen="1969-11-21T13:00:00Z"), "out_of_range:seen", 32),
        (cells(kind="c"), "not_allowed:kind", 64),
        (cells(kind='""'), "not_allowed:kind", 64),
        (cells(kind="c", pieces="x"), "wrong_type:pieces", 8 | 64),
        (cells() + b",", "wrong_columns", 1),
        (b"e1,1795262400000", "wrong_columns", 1),
        (b"", "wrong_columns", 1),
        (cells() + b"\n" + cells(), "bad_csv", 1),
        (cells(id='a"b"'), "bad_csv", 1),
        (cells(id='"a'), "bad_csv", 1),
        (cells(id='"a"b'), "bad_csv", 1),
        (cells()[:-1] + b"\xff", "bad_utf8", 1),
        (cells(id="a\x00b"), None, 0),
        (None, "null_value", 1),
    ],
)
def test_a_csv_record_is_good_or_bad_for_one_reason(record: bytes | None, reason: str | None, flaws: int) -> None:
    [row] = parsed(_compiled("csv")[0], [record])
    assert (row["reason"], row["flaws"]) == (reason, flaws)


def test_an_empty_cell_is_null_and_a_quoted_empty_one_is_a_text() -> None:
    fields = {"a": {"type": "string"}, "b": {"type": "string"}}
    rows = parsed(domain("csv", fields, "append_time"), [b'"",', b',""', b","])
    assert [(row["a"], row["b"]) for row in rows] == [("", None), (None, ""), (None, None)]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ".", "^", "]", "é", "'", "\\", " "])
def test_any_character_may_stand_between_the_cells(delimiter: str) -> None:
    fields = {"a": {"type": "string"}, "b": {"type": "string"}}
    declared = domain({"csv": {"delimiter": delimiter}}, fields, "append_time")
    plain, quoted = delimiter.join(["x", "y,z"]), delimiter.join([f'"x{delimiter}"', '"y"'])
    rows = parsed(declared, [plain.encode(), quoted.encode()])
    assert [(row["a"], row["b"]) for row in rows] == [("x", "y,z"), (f"x{delimiter}", "y")]


def test_columns_may_be_named_in_another_order_and_those_that_are_no_field_are_skipped() -> None:
    fields = {"a": {"type": "string"}, "b": {"type": "integer"}}
    declared = domain({"csv": {"columns": ["b", "other", "a"]}}, fields, "append_time")
    [row] = parsed(declared, [b"1,2,3"])
    assert (row["a"], row["b"]) == ("3", 1)


def test_a_web_servers_log_is_read_by_a_regular_expression() -> None:
    [full, short] = parsed(access_log(), [LINE.encode(), b'::1 - - [01/Jan/1970:00:00:00 +0000] "HEAD / -" 304 -'])
    assert {name: full[name] for name in ACCESS_FIELDS} == {
        "host": "203.0.113.9",
        "person": "ada",
        "stamp": NOON.replace(tzinfo=None),
        "method": "GET",
        "path": "/cart?x=1",
        "status": 200,
        "bytes": 5120,
        "referrer": "https://a.example/",
        "agent": "curl/8",
    }
    assert [short[name] for name in ("person", "bytes", "referrer", "agent", "reason")] == [None] * 5
    states = Kernel(access_log()).run(records([LINE.encode()] * 3))["hits"]
    assert states.to_pylist() == [{"hour": NOON, "status": 200, "hits": 3, "bytes": 3 * 5120}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", "no_match"),
        ("hello", "no_match"),
        (LINE + "\n", "no_match"),
        (" " + LINE, "no_match"),
        (LINE.replace("21/Nov", "31/Nov"), "wrong_type:stamp"),
        (LINE.replace("21/Nov", "21/11"), "wrong_type:stamp"),
        (LINE.replace(" +0100", ""), "wrong_type:stamp"),
        (LINE.replace("2026", "1926"), "out_of_range:stamp"),
        (LINE.replace("GET", "BREW"), "not_allowed:method"),
        (LINE.replace(" 200 ", " 999 "), "out_of_range:status"),
        (LINE.replace("5120", "9" * 30), "wrong_type:bytes"),
        (LINE.replace("curl/8", "Zürich\x00\t"), None),
    ],
)
def test_a_line_of_a_log_is_good_or_bad_for_one_reason(record: str, reason: str | None) -> None:
    assert reasons(access_log(), [record.encode()]) == [reason]


def test_a_pattern_must_match_the_whole_record_whatever_alternatives_it_has() -> None:
    fields = {"a": {"type": "string"}}
    assert reasons(domain({"regex": "(?P<a>x|xy)"}, fields, "append_time"), [b"xy", b"x", b"xyz"]) == [
        *(None, None, "no_match")
    ]
    [row] = parsed(domain({"regex": "(?P<a>x|xy)"}, fields, "append_time"), [b"xy"])
    assert row["a"] == "xy"
    assert reasons(domain({"regex": "(?P<a>x*)|y"}, fields, "append_time"), [b"", b"y", b"z"]) == [
        *(None, None, "no_match")
    ]


def test_groups_are_counted_as_the_pattern_counts_them() -> None:
    pattern = r"\((a)[(\](]*(?:b|\Q(\E)(?P<one>[^()[:digit:]]+)(x(y))?(?P<two>\d+)"
    fields = {"two": {"type": "integer"}, "one": {"type": "string"}}
    [row] = parsed(domain({"regex": pattern}, fields, "append_time"), [b"(a(((b--xy42"])
    assert (row["reason"], row["one"], row["two"]) == (None, "--xy", 42)


def test_a_text_is_one_string_with_its_line_breaks_and_nothing_is_no_null() -> None:
    declared = domain("text", {"line": {"type": "string", "required": True}}, "append_time")
    rows = parsed(declared, [b"a,\n b", b"", b"\xff", None])
    assert [(row["line"], row["reason"]) for row in rows] == [
        ("a,\n b", None),
        ("", None),
        (None, "bad_utf8"),
        (None, "null_value"),
    ]


def test_a_field_may_have_any_name_that_is_allowed() -> None:
    names = ("text", "shape", "kinds", "texts", "cells", "groups", "cell", "line", "decoded", "typed", "at")
    fields = {name: {"type": "timestamp_ms", "required": True} for name in names}
    event = json.dumps(dict.fromkeys(names, 5)).encode()
    pattern = ",".join(f"(?P<{name}>[0-9]+)" for name in names)
    for declared in (domain("json", fields), domain("csv", fields), domain({"regex": pattern}, fields)):
        value = event if declared.format == domain("json", fields).format else b",".join([b"5"] * len(names))
        [row] = parsed(declared, [value])
        assert row["reason"] is None
        assert {row[name] for name in names} == {datetime(1970, 1, 1, 0, 0, 0, 5000)}


def test_json_times_may_have_a_format_too() -> None:
    fields = {"at": {"type": "timestamp(%Y-%m-%d %H:%M:%S)", "required": True}}
    values = [b'{"at": "2026-11-21 12:00:00"}', b'{"at": "2026-11-21"}', b'{"at": 5}', b'{"at": "1926-11-21 12:00:00"}']
    rows = parsed(domain("json", fields), values)
    assert [row["reason"] for row in rows] == [None, "wrong_type:at", "wrong_type:at", "out_of_range:at"]
    assert rows[0]["at"] == NOON.replace(tzinfo=None)


STRING = {"a": {"type": "string"}}


@pytest.mark.parametrize(
    ("format", "fields", "said"),
    [
        ("cvs", STRING, r"format: 'cvs' is no format; did you mean 'csv'\?"),
        (7, STRING, r"format: expected one of json, csv, regex, text.*found 7"),
        ({"csv": {}, "text": {}}, STRING, r"format: expected one of"),
        ("regex", STRING, r"format.*pattern.*missing"),
        ({"csv": {"delimter": ";"}}, STRING, r"format.csv.delimter: unknown key; did you mean 'delimiter'\?"),
        ({"csv": {"delimiter": ";;"}}, STRING, r"delimiter ';;' must be one character"),
        ({"csv": {"columns": ["b"]}}, STRING, r"field 'a' is none of them; known: b"),
        ({"csv": {"columns": ["a", "a"]}}, STRING, r"a name stands twice in a, a"),
        ("csv", {"a": {"type": "list(string)"}}, r"field 'a' is a list\(string\), which csv cannot say"),
        ("text", {**STRING, "b": {"type": "integer"}}, r"one field, a string; found a: string, b: integer"),
        ({"regex": "(?P<a>.)(?P<bb>.)"}, STRING, r"group 'bb' is no field; known: a"),
        ({"regex": "(?P<a>.)"}, {**STRING, "b": {"type": "string"}}, r"field 'b' has no group \(\?P<b>\.\.\.\)"),
        ({"regex": "(?P<a>.))("}, STRING, r"RE2 refuses the pattern"),
        ({"regex": r"(?P<a>.)(?=x)"}, STRING, r"RE2 refuses the pattern"),
        ({"regex": r"(?P<a>(x{1000}){1000})"}, STRING, r"RE2 refuses the pattern: .*repetition"),
        ("csv", {"a": {"type": "timestamp(%Q)"}}, r"fields.a: 'timestamp\(%Q\)': '%Q' is none of"),
        ("csv", {"a": {"type": "timestamp(%Y %Z)"}}, r"'%Z' is none of"),
    ],
)
def test_a_format_that_does_not_fit_is_told_when_the_domain_is_loaded(format: object, fields: dict, said: str) -> None:
    with pytest.raises(BadDomain, match=said):
        domain(format, fields, "append_time")


@pytest.mark.parametrize(
    "format",
    ["json", "csv", {"csv": {"delimiter": ";", "columns": ["b", "a"], "header": True}}, {"regex": "(?P<a>.)|.(.)"}],
)
def test_a_domain_that_is_written_down_reads_back_as_the_same(format: object) -> None:
    declared = domain(format, STRING, "append_time")
    written = declared.model_dump(mode="json", exclude_defaults=True)
    assert read_domain(written, "sample.yaml") == declared
    other = domain("json" if format != "json" else "csv", STRING, "append_time")
    assert declared != other and str(declared.format) != str(other.format)


def test_the_web_servers_log_in_the_documentation_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    [example] = re.findall("```yaml\n(.*?)```", page, re.DOTALL)
    declared = read_domain(yaml.safe_load(example), "access_log.yaml")
    assert reasons(declared, [LINE.partition(' "https')[0].encode(), b"x"]) == [None, "no_match"]


WORDS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["", '"', ",", "\n", "\r\n", '""', "-", "\0"]
)


@cache
def strings(*names: str) -> Domain:
    """CSV of optional strings."""
    return domain("csv", {name: {"type": "string"} for name in names}, "append_time")


@settings(max_examples=100, deadline=None, print_blob=True)
@given(rows=st.lists(st.lists(WORDS | st.none(), min_size=2, max_size=4), min_size=1, max_size=20))
def test_what_pythons_csv_writes_is_read_as_it_was_written(rows: list[list[str | None]]) -> None:
    lines = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_NOTNULL if hasattr(csv, "QUOTE_NOTNULL") else csv.QUOTE_ALL).writerow(row)
        lines.append(text.getvalue().encode())
    declared = strings("a", "b", "c")
    for row, found in zip(rows, parsed(declared, lines), strict=True):
        if len(row) == 3:
            # Before 3.12 Python cannot write an empty cell beside a quoted empty one.
            written = [cell if hasattr(csv, "QUOTE_NOTNULL") else cell or "" for cell in row]
            assert (found["reason"], [found[name] for name in declared.fields]) == (None, written)
        else:
            assert found["reason"] == "wrong_columns"


@settings(max_examples=100, deadline=None, print_blob=True)
@given(lines=st.lists(st.text(st.sampled_from('ab,"\r\n '), max_size=12), min_size=1, max_size=30))
@example(lines=['"a""",b', '"a"\n', 'a"', '"', ",", "\r", "\n", "a\nb", '"",""\r\n'])
def test_a_csv_record_that_is_accepted_is_what_pythons_csv_reads(lines: list[str]) -> None:
    rows = parsed(strings("a", "b"), [line.encode() for line in lines])
    for line, found in zip(lines, rows, strict=True):
        read = _csv_rows(line)
        if found["reason"] is None:
            assert read == [[found["a"] or "", found["b"] or ""]], line
        elif found["reason"] == "wrong_columns":
            assert read is not None and [len(row) for row in read] != [2], line
        elif read is not None and len(read) == 1 and '"' not in line and "\r" not in line and line.count("\n") < 2:
            raise AssertionError(f"{line!r} was refused as {found['reason']}")


def _csv_rows(line: str) -> list[list[str]] | None:
    try:
        return list(csv.reader([line], strict=True))
    except csv.Error:
        return None


@settings(max_examples=100, deadline=None, print_blob=True)
@given(
    lines=st.lists(
        st.text(st.sampled_from('a1 "-[]:+/'), max_size=10)
        | st.builds(lambda at, to, put: LINE[:at] + put + LINE[to:], *[st.integers(0, len(LINE))] * 2, WORDS),
        min_size=1,
        max_size=20,
    )
)
@example(lines=[LINE, LINE[:-1], LINE + "\n"])
def test_a_pattern_finds_what_pythons_re_finds(lines: list[str]) -> None:
    pattern = re.compile(ACCESS_LOG, re.ASCII)
    for line, found in zip(lines, parsed(access_log(), [line.encode() for line in lines]), strict=True):
        match = pattern.fullmatch(line)
        # RE2's \S is ASCII's, without the vertical tab.
        if "\v" in line or (match and any(ord(c) > 127 for c in line)):
            continue
        assert (match is None) == (found["reason"] == "no_match"), line
        if match and found["reason"] is None:
            for name in ("host", "person", "method", "path", "referrer", "agent"):
                assert found[name] == (match[name] or None), line


def _mutated(good: bytes) -> st.SearchStrategy[bytes]:
    def mutate(at: int, to: int, put: bytes) -> bytes:
        return good[: at % (len(good) + 1)] + put + good[to % (len(good) + 1) :]

    junk = st.binary(max_size=6) | st.sampled_from([b"\x00", b"\xff", b'"', b'""', b",", b"\n", b"\\", b"'", b"9" * 40])
    return st.builds(mutate, st.integers(0), st.integers(0), junk)


JSON_EVENT = json.dumps({"id": "e1", "at": 1795262400000, "amount": "1.5", "paid": True, "pieces": 3}).encode()
SAMPLES: dict[str, tuple[Callable[[], Domain], bytes]] = {
    "json": (lambda: domain("json"), JSON_EVENT),
    "csv": (lambda: domain("csv"), cells()),
    "regex": (access_log, LINE.encode()),
    "text": (lambda: domain("text", {"line": {"type": "string", "required": True}}, "append_time"), b"a line"),
}


@cache
def _compiled(word: str) -> tuple[Domain, Kernel]:
    declared = SAMPLES[word][0]()
    return declared, Kernel(declared)


@pytest.mark.parametrize("word", SAMPLES)
@settings(max_examples=50, deadline=None, print_blob=True)
@given(data=st.data())
def test_nothing_a_producer_sends_fails_and_every_record_has_one_verdict(word: str, data: st.DataObject) -> None:
    good = SAMPLES[word][1]
    declared, kernel = _compiled(word)
    values = data.draw(st.lists(st.none() | st.binary(max_size=40) | _mutated(good), max_size=40))
    result = kernel.run(records([*values, good]))
    [counts] = result[COUNTS].to_pylist()
    assert counts["events"] == len(values) + 1 == counts["good"] + counts["quarantined"]
    assert len(result[QUARANTINE]) == counts["quarantined"]
    assert counts["good"] >= 1
    rows = parsed(declared, [*values, good])
    required = {name for name, field in declared.fields.items() if field.required}
    for row in rows:
        fatal = row["reason"] is not None and row["reason"].partition(":")[2] in ("", *required)
        assert (row["flaws"] == 0) == (row["reason"] is None)
        assert (row["flaws"] == 1) >= fatal


@pytest.mark.parametrize("word", SAMPLES)
def test_megabytes_of_anything_are_judged_too(word: str) -> None:
    make, good = SAMPLES[word]
    size = 2 << 20
    values = [piece * (size // len(piece)) for piece in (b"a", b'"', b",", b'""', b'",', b"\n", b"(", b"[{", b"\x00")]
    assert len(reasons(make(), [*values, good])) == len(values) + 1
