"""External data: what a file holds is kept as a version for ever, and what cannot be kept is told."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lake.cli import app
from lake.errors import BadExternal
from lake.external import External
from lake.tables import filesystem


@pytest.fixture
def external(sandbox) -> External:
    return External(sandbox.settings)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text("product,price,since\np1,1.50,2026-01-01\np2,,2026-02-01\n")
    return path


def test_each_add_is_a_version_and_those_before_stay(external: External, prices: Path) -> None:
    first = external.add("prices", str(prices))
    assert (first.version, first.rows, first.source) == (1, 2, str(prices))
    assert first.columns == {"product": "string", "price": "double", "since": "date32[day]"}
    prices.write_text("product,colour\np3,red\n")
    assert external.add("prices", str(prices)).version == 2
    assert external.table("prices").to_pylist() == [{"product": "p3", "colour": "red"}]
    assert external.table("prices", 1)["product"].to_pylist() == ["p1", "p2"]
    assert external.names() == {"prices": [1, 2]}
    assert [v.version for v in external.versions()] == [1, 2]


def test_every_format_gives_the_same_rows_from_here_and_from_the_lake(sandbox, external, tmp_path) -> None:
    rows = [{"name": "a", "n": 1}, {"name": "b", "n": 2}]
    files = {
        "csv": b"name,n\na,1\nb,2\n",
        "tsv": b"name\tn\na\t1\nb\t2\n",
        "json": json.dumps(rows).encode(),
        "jsonl": b"\n".join(json.dumps(row).encode() for row in rows),
        "ndjson": b"\n".join(json.dumps(row).encode() for row in rows),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    files["parquet"] = sink.getvalue().to_pybytes()
    for suffix, content in files.items():
        path = tmp_path / f"it's a table.{suffix}"
        path.write_bytes(content)
        external.add("here", str(path))
        assert external.table("here").to_pylist() == rows, suffix
        key = f"{sandbox.settings.bucket}/brought/table.{suffix}"
        with filesystem(sandbox.settings).open_output_stream(key) as stream:
            stream.write(content)
        external.add("there", f"s3://{key}")
        assert external.table("there").to_pylist() == rows, suffix


def test_types_that_delta_does_not_have_become_some_that_it_has(external: External, tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    odd = """SELECT 7::UTINYINT AS small, 9::UBIGINT AS big, TIME '10:00' AS at, INTERVAL 1 DAY AS long,
        TIMESTAMP '2026-01-01 00:00:00' AS day, [1, 2] AS list, {'x': 'y'} AS pair, NULL AS nothing"""
    with duckdb.connect() as db:
        db.execute(f"COPY ({odd}) TO '{path}'")
    added = external.add("odd", str(path))
    assert added.columns["small"] == "int64" and added.columns["big"] == "decimal128(38, 0)"
    [row] = external.table("odd").to_pylist()
    assert (row["small"], int(row["big"]), row["at"], row["list"], row["pair"], row["nothing"]) == (
        *(7, 9, "10:00:00", [1, 2], {"x": "y"}, None),
    )
    assert row["day"].isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("Prices", "a.csv", b"a\n1\n", "'Prices' is no name for external data: lower-case"),
        ("a.b", "a.csv", b"a\n1\n", "'a.b' is no name"),
        ("prices", "a.xlsx", b"a", r"ends with '.xlsx'; allowed: .csv, .tsv, .parquet, .json"),
        ("prices", "a", b"a", "ends with ''; allowed"),
        ("prices", "a.csv", b"", "has no rows; nothing was added"),
        ("prices", "a.csv", b"a,b\n", "has no rows; nothing was added"),
        ("prices", "a.json", b"[]", "has no rows; nothing was added"),
        ("prices", "a.json", b'[{"a": 1', "cannot be read as json: "),
        ("prices", "a.parquet", b"PAR1 no", "cannot be read as parquet: "),
        ("prices", "a.csv", b"\x00\xff\n\xfe", "cannot be read as csv: "),
        ("prices", "a.csv", b"unit price,b\n1,2\n", "has a column 'unit price'.* rename it 'unit_price'"),
    ],
)
def test_what_cannot_be_added_is_told_and_nothing_is_kept(external, tmp_path, name, file, content, message) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BadExternal, match=message):
        external.add(name, str(tmp_path / file))
    assert external.names() == {}


def test_a_file_that_is_not_there_is_told(sandbox, external: External, prices: Path) -> None:
    for source, message in {
        "nowhere.csv": "'nowhere.csv' is no file here; give a path, or s3://bucket/key",
        "https://example.com/a.csv": "neither a file here nor in the lake.*download it first",
        f"s3://{sandbox.settings.bucket}/nowhere.csv": "cannot be read from http",
    }.items():
        with pytest.raises(BadExternal, match=message):
            external.add("prices", source)
    with pytest.raises(BadExternal, match="no external data 'prices'; nothing was added yet"):
        external.table("prices")
    external.add("prices", str(prices))
    with pytest.raises(BadExternal, match="no external data 'price'; did you mean 'prices'"):
        external.table("price")
    with pytest.raises(BadExternal, match=r"'prices' has no version 2; known: \[1\]"):
        external.table("prices", 2)


def test_files_added_at_once_get_a_version_each(external: External, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.csv" for n in range(6)]
    for n, path in enumerate(paths):
        path.write_text(f"n\n{n}\n")
    with ThreadPoolExecutor(6) as pool:
        added = list(pool.map(lambda path: external.add("many", str(path)), paths))
    assert sorted(version.version for version in added) == [1, 2, 3, 4, 5, 6]
    kept = {version.version: external.table("many", version.version)["n"].to_pylist() for version in added}
    assert {version.source: kept[version.version] for version in added} == {str(p): [n] for n, p in enumerate(paths)}


def test_the_commands_add_and_list(sandbox, prices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sandbox.environment.items():
        if name.startswith("TIDEMARK_"):
            monkeypatch.setenv(name, value)

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["external", *arguments])
        assert result.exit_code == 0, result
        return result.stdout

    assert "nothing was added yet" in said("list")
    assert 'external.prices is version 1 now, external."prices@1": 2 rows' in said("add", "prices", str(prices))
    assert json.loads(said("add", "prices", str(prices), "--json"))["version"] == 2
    assert [v["version"] for v in json.loads(said("list", "--json"))["external"]] == [1, 2]
    assert 'external."prices@2"' in said("list")
