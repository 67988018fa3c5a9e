"""`tidemark external`: files brought into the lake, in versions, for joining in SQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lake.external import External, ExternalVersion
from lake.screen import print_json, print_table
from lake.settings import load_settings

_group = typer.Typer(help="External data: added in versions, asked as external.NAME.", no_args_is_help=True)
_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="external")


@_group.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is called in SQL: external.NAME.")],
    source: Annotated[str, typer.Argument(help="A file here or s3://bucket/key: CSV, TSV, Parquet, JSON.")],
    as_json: _JsonOption = False,
) -> None:
    """Keep what a file holds now as a new version; those before stay."""
    added = External(load_settings()).add(name, source)
    if as_json:
        print_json(asdict(added))
    else:
        columns = ", ".join(f"{column} {kind}" for column, kind in added.columns.items())
        print(f'external.{name} is version {added.version} now, external."{name}@{added.version}": {added.rows} rows')
        print(f"columns: {columns}")


@_group.command("list")
def list_all(as_json: _JsonOption = False) -> None:
    """Every version of everything that was added."""
    versions = External(load_settings()).versions()
    if as_json:
        print_json({"external": [asdict(version) for version in versions]})
    elif versions:
        print_table(("table", "version", "rows", "added", "source", "columns"), map(_row, versions))
    else:
        print("nothing was added yet: tidemark external add NAME FILE")


def _row(v: ExternalVersion) -> tuple[object, ...]:
    return f'external."{v.name}@{v.version}"', v.version, v.rows, v.added, v.source, ", ".join(v.columns)
