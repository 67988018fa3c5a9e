"""`tidemark dimension`: versions of the tables that views join, such as the users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as adbc
import duckdb
import pyarrow as pa
import typer

from lake.dimensions import Dimensions
from lake.domain import Domain, load_domains
from lake.errors import BadDimension
from lake.expressions import nearest
from lake.log import Log
from lake.settings import Settings, load_settings

_READERS = {
    ".csv": "read_csv(?, all_varchar = true, header = true)",
    ".parquet": "read_parquet(?)",
    ".json": "read_json(?)",
    ".jsonl": "read_json(?)",
}
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Load and list the versions of a dimension, such as the users.")
    group.command()(load)
    group.command()(announce)
    group.command(name="list")(list_)
    app.add_typer(group, name="dimension")


def load(
    name: Annotated[str, typer.Argument(help="The dimension, as domains declare it.")],
    source: Annotated[
        str,
        typer.Argument(help="A CSV, Parquet or JSON file with a column `key`, or postgresql://user@host/database."),
    ],
    table: Annotated[str | None, typer.Option(help="The table in Postgres; the dimension's name by default.")] = None,
    as_json: _Json = False,
) -> None:
    """Write a new version into the lake and announce it to every domain that joins it.

    It holds from the next segment of each partition on; what came before keeps the version of its time.
    """
    settings = load_settings()
    owners = _owners(settings, name)
    rows = read_rows(source, table or name)
    version = Dimensions(settings).load(name, rows, [domain.dimensions[name].columns for domain in owners])
    for domain in owners:
        Log(settings, domain).announce(name, version)
    _tell(name, version, len(rows), owners, as_json)


def announce(name: str, as_json: _Json = False) -> None:
    """Announce the newest version again, where `load` ended after it had written the version."""
    settings = load_settings()
    owners, dimensions = _owners(settings, name), Dimensions(settings)
    version = dimensions.newest(name)
    rows = len(dimensions.table(name, version))
    for domain in owners:
        Log(settings, domain).announce(name, version)
    _tell(name, version, rows, owners, as_json)


def list_(as_json: _Json = False) -> None:
    """The dimensions that domains declare, and the newest version of each."""
    settings = load_settings()
    domains = load_domains(settings.domains_dir).values()
    names = sorted({name for domain in domains for name in domain.dimensions})
    newest = {name: Dimensions(settings).newest(name) for name in names}
    owners = {name: [domain.name for domain in domains if name in domain.dimensions] for name in names}
    if as_json:
        print(json.dumps([{"dimension": n, "newest": newest[n], "domains": owners[n]} for n in names]))
        return
    for name in names:
        print(f"{name}: version {newest[name] or 'none yet'}, joined by {', '.join(owners[name])}")


def read_rows(source: str, table: str) -> pa.Table:
    """The rows of a file, or of a table in Postgres. Raises BadDimension with what was expected."""
    if source.startswith(("postgres://", "postgresql://")):
        return _from_postgres(source, table)
    path = Path(source)
    if not path.is_file():
        raise BadDimension(f"there is no file {source}")
    if path.suffix not in _READERS:
        raise BadDimension(f"{source}: a dimension is read from {', '.join(_READERS)} or postgresql://...")
    try:
        with duckdb.connect() as db:
            return db.sql(f"SELECT * FROM {_READERS[path.suffix]}", params=[source]).to_arrow_table()
    except duckdb.Error as error:
        raise BadDimension(f"{source} cannot be read: {str(error).splitlines()[0]}") from None


def _from_postgres(url: str, table: str) -> pa.Table:
    """All rows of a table; the password comes from PGPASSWORD or ~/.pgpass, as for psql, and is in no message."""
    quoted = ".".join(f'"{part}"' for part in table.replace('"', "").split("."))
    try:
        with adbc.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {quoted}")
            return cursor.fetch_arrow_table()
    except adbc.Error as error:
        raise BadDimension(
            f"table {table} cannot be read from Postgres at {urlsplit(url).hostname or 'this machine'} "
            f"({str(error).splitlines()[0]}); give the password in PGPASSWORD, another table with --table"
        ) from None


def _owners(settings: Settings, name: str) -> list[Domain]:
    domains = load_domains(settings.domains_dir).values()
    owners = [domain for domain in domains if name in domain.dimensions]
    if not owners:
        known = {each for domain in domains for each in domain.dimensions}
        raise BadDimension(f"no domain declares a dimension '{name}'; {nearest(name, known) if known else 'none does'}")
    return owners


def _tell(name: str, version: int, rows: int, owners: list[Domain], as_json: bool) -> None:
    names = [domain.name for domain in owners]
    if as_json:
        print(json.dumps({"dimension": name, "version": version, "rows": rows, "domains": names}))
    else:
        print(f"{name}: version {version}, {rows} rows, announced to {', '.join(names)}")
