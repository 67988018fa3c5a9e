"""Files as the values of events: what each kind of line and row becomes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.domain import Domain, read_domain
from lake.errors import TidemarkError
from lake.log import MAX_VALUE_BYTES
from lake.settings import Settings
from streaming.file_values import BadFile, Reading, Source, values
from streaming.import_events import Judge

FIELDS = {
    "id": {"type": "string", "required": True},
    "at": {"type": "timestamp_ms", "required": True},
    "seen": {"type": "timestamp"},
    "amount": {"type": "decimal(8,2)"},
    "weight": {"type": "double"},
    "pieces": {"type": "integer"},
    "paid": {"type": "boolean"},
    "tags": {"type": "list(string)"},
}
PLAIN = {name: field for name, field in FIELDS.items() if name != "tags"}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_MS = 1_795_262_400_000


def domain(format: object = "json", fields: dict | None = None) -> Domain:
    declared = {
        "domain": "sample",
        "event_time": "at",
        "fields": fields or (FIELDS if format == "json" else PLAIN),
        "format": format,
        "views": {"events": {"measures": {"events": "count"}}},
    }
    return read_domain(declared, "sample.yaml")


@cache
def simple() -> Domain:
    return domain("json", {"id": {"type": "string", "required": True}, "at": FIELDS["at"]})


def read(path: Path, declared: Domain, kind: str | None = None, delimiter: str | None = None) -> list[bytes | None]:
    source = Source.of(Settings(), str(path))
    return list(values(source, Reading.of(declared, str(path), kind, delimiter), declared))


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def good(declared: Domain, found: list[bytes | None]) -> list[str | None]:
    return [reason for reason, _ in Judge(declared, None).of([v for v in found if v is not None])]


def test_lines_are_sent_as_they_are_without_their_breaks_and_blank_ones_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"a":1}\r\n\n{"b"\xff:\n\r\n last')
    assert read(path, domain()) == [b'{"a":1}', b'{"b"\xff:', b" last"]
    packed = write(tmp_path, "a.jsonl.gz", gzip.compress(path.read_bytes()))
    assert read(packed, domain()) == read(path, domain())


def test_a_line_too_long_for_an_event_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    longest, longer = b"x" * MAX_VALUE_BYTES, b"y" * (3 * MAX_VALUE_BYTES)
    path = write(tmp_path, "a.log", b"\n".join([b"1", longest, longer, b"2", longer]))
    assert read(path, domain()) == [b"1", longest, None, b"2", None]


def test_rows_of_csv_become_json_of_their_fields_types(tmp_path: Path) -> None:
    header = "at,id,amount,weight,pieces,paid,tags,seen,other"
    rows = [
        f'{NOON_MS},"a ""b""\n,",12.30,1.5,7,true,"[""x""]",2026-11-21T12:00:00Z,o',
        f"{NOON_MS},b,,,,,,,",
        f"{NOON_MS},c,12.345,1.5.2,007,TRUE,x,,",
    ]
    declared = domain()
    found = read(write(tmp_path, "a.csv", "\r\n".join([header, *rows]).encode()), declared)
    events = [json.loads(value or b"") for value in found]
    assert events == [
        {
            **{"at": NOON_MS, "id": 'a "b"\n,', "amount": "12.30", "weight": 1.5, "pieces": 7, "paid": True},
            **{"tags": ["x"], "seen": "2026-11-21T12:00:00Z", "other": "o"},
        },
        {"at": NOON_MS, "id": "b"},
        {"at": NOON_MS, "id": "c", "amount": "12.345", "weight": "1.5.2", "pieces": "007", "paid": "TRUE", "tags": "x"},
    ]
    assert good(declared, found) == [None, None, "wrong_type:amount"]


def test_a_bad_row_of_csv_is_sent_as_it_stands_and_costs_no_other(tmp_path: Path) -> None:
    rows = [f"a,{NOON_MS}", "b", f'"c,{NOON_MS}', f"d,{NOON_MS},", "\xff", f"e,{NOON_MS}"]
    path = write(tmp_path, "a.csv", "\n".join(["id,at", *rows]).encode("latin-1"))
    found = read(path, domain())
    assert [found[1], found[2], found[3], found[4]] == [
        b"b",
        f'"c,{NOON_MS}'.encode(),
        f"d,{NOON_MS},".encode(),
        b"\xff",
    ]
    assert good(domain(), found) == [None, "bad_json", "bad_json", "bad_json", "bad_utf8", None]


def test_a_csv_file_for_a_csv_domain_is_sent_line_by_line_or_put_in_order(tmp_path: Path) -> None:
    two = {name: PLAIN[name] for name in ("id", "at")}
    plain = domain({"csv": {"delimiter": ";"}})
    assert read(write(tmp_path, "a.csv", b"id;at\n1;2\n"), plain) == [b"id;at", b"1;2"]
    assert read(tmp_path / "a.csv", domain({"csv": {"delimiter": ";"}}, two), "csv") == [b"1;2"]
    headed = domain({"csv": {"delimiter": ";", "header": True}}, two)
    assert read(write(tmp_path, "b.csv", b'id;at\n"1";2\n'), headed) == [b'"1";2']
    assert read(write(tmp_path, "c.csv", b"at,x,id\n2,0,a;b\n"), headed, delimiter=",") == [b'"a;b";2']


@pytest.mark.parametrize("format", ["json", "csv"])
def test_rows_of_parquet_become_events_that_are_good(format: str, tmp_path: Path) -> None:
    declared = domain(format)
    row = {
        **{"id": "a,\n", "at": NOON, "seen": NOON.replace(tzinfo=None), "amount": Decimal("12.30"), "weight": 1e-7},
        **{"pieces": 7, "paid": False, "tags": ["x", "y"], "extra": b"\x00"},
    }
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.Table.from_pylist([row, {"id": "b", "at": NOON}, {"id": None}], pa.Table.from_pylist([row]).schema), path
    )
    found = read(path, declared)
    assert good(declared, found) == [None, None, "missing:id"]
    if format == "json":
        assert json.loads(found[0] or b"") == {
            **{"id": "a,\n", "at": NOON_MS, "seen": "2026-11-21T12:00:00.000000+00:00", "amount": "12.30"},
            **{"weight": 1e-7, "pieces": 7, "paid": False, "tags": ["x", "y"], "extra": "\x00"},
        }


def test_nan_is_wrong_in_its_field_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"id": "a", "at": NOON, "weight": float("nan")}]), path)
    assert good(domain(), read(path, domain())) == ["wrong_type:weight"]


CELLS = st.text(st.sampled_from('ab",\r\n é'), max_size=6)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=10))
def test_whatever_pythons_csv_writes_comes_out_as_it_was(rows: list, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("id", "at"), *rows])
    path = write(tmp_path_factory.getbasetemp(), "written.csv", text.getvalue().encode())
    found = [json.loads(value or b"") for value in read(path, simple())]
    assert [(event.get("id", ""), str(event.get("at", ""))) for event in found] == rows


@settings(max_examples=150, deadline=None, print_blob=True)
@given(content=st.binary(max_size=80) | st.text(st.sampled_from('a",\n\r'), max_size=60).map(str.encode))
def test_whatever_a_file_holds_is_read_to_its_end_the_same_twice(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name, header in (("any.csv", b"id,at\n"), ("any.log", b"")):
        path = write(tmp_path_factory.getbasetemp(), name, header + content)
        found = read(path, simple())
        assert found == read(path, simple())
        assert sum(len(v or b"") for v in found) <= 40 * len(content)
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    assert found == [line for line in lines if line]


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("a.csv", b"", {}, "has no header line"),
        ("a.csv", b"id,att\n", {}, r"has no column 'at' in its header; did you mean 'att'\?"),
        ("a.parquet", b"no", {}, "cannot be read as parquet"),
        ("a.jsonl.gz", b"no", {}, "cannot be read as jsonl"),
        ("a.csv", b"id,at\n", {"kind": "cvs"}, r"--format 'cvs' is unknown; did you mean 'csv'\?"),
        ("a.csv", b"id,at\n", {"delimiter": ";;"}, "--delimiter ';;' must be one character"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_told(
    name: str, content: bytes, options: dict, said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadFile, match=said):
        read(write(tmp_path, name, content), domain(), **options)


def test_rows_are_no_lines_of_a_regular_expression(tmp_path: Path) -> None:
    declared = domain({"regex": "(?P<id>.)(?P<at>.)"}, {name: PLAIN[name] for name in ("id", "at")})
    path = write(tmp_path, "a.csv", b"id,at\n12\n")
    with pytest.raises(BadFile, match="csv has columns, and a record of domain 'sample' is regex; use --format lines"):
        read(path, declared)
    assert read(path, declared, "lines") == [b"id,at", b"12"]


def test_a_file_that_is_not_there_and_a_key_that_is_no_expression_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadFile, match="is no file; give a path, or s3://"):
            Source.of(Settings(), str(path))
    with pytest.raises(TidemarkError, match=r"--key: .*'idd'.*did you mean 'id'\?"):
        Judge(domain(), "idd")


def test_the_key_of_an_event_is_the_expressions_text_and_that_of_a_bad_record_none() -> None:
    judged = Judge(domain(), "upper(id) || '-' || pieces")
    found = list(judged.of([b'{"id":"a","at":1,"pieces":7}', b"bad", b'{"id":"a","at":1}']))
    assert found == [(None, b"A-7"), ("bad_json", None), (None, None)]
