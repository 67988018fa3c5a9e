"""`tidemark domain`: the versions of a domain, and what its file would change."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from lake.cuts import format_time
from lake.domain import load_domain
from lake.errors import TidemarkError
from lake.registry import Registry, Version
from lake.screen import console
from lake.settings import load_settings

_Name = Annotated[str, typer.Argument(help="A domain.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
group = typer.Typer(help="Versions of a domain's file: which there are, which is live.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="domain")


@group.command()
def versions(name: _Name, as_json: _Json = False) -> None:
    """Every accepted version of a domain, and which is live."""
    history = Registry(load_settings()).history(name)
    if history.newest is None:
        raise TidemarkError(f"'{name}' was never declared; run `tidemark domain declare {name}`")
    rows = [_row(version, version == history.live) for version in history.versions]
    if as_json:
        print(json.dumps({"domain": name, "versions": rows}))
        return
    table = Table("version", "declared", "became live", "is", title=name)
    for row in rows:
        table.add_row(str(row["version"]), str(row["declared"]), str(row["promoted"] or ""), str(row["is"]))
    console().print(table)


@group.command()
def show(
    name: _Name,
    version: Annotated[int | None, typer.Option(help="Its number; without it, the live version.")] = None,
) -> None:
    """A version's content, as YAML."""
    history = Registry(load_settings()).history(name)
    found = history.version(version) if version is not None else history.live
    if found is None:
        raise TidemarkError(f"'{name}' was never declared; run `tidemark domain declare {name}`")
    print(found.content, end="")


@group.command()
def declare(name: _Name, as_json: _Json = False) -> None:
    """Accept a domain's file as its newest version. What keeps every state is live at once."""
    settings = load_settings()
    registry = Registry(settings)
    declared = registry.declare(load_domain(name, settings.domains_dir))
    live = registry.live(name)
    assert live is not None
    is_live = live.number == declared.number
    if as_json:
        print(json.dumps({"domain": name, "version": declared.number, "live": live.number}))
    elif is_live:
        print(f"version {declared.number} of {name} is live")
    else:
        print(
            f"version {declared.number} of {name} is declared and changes what is stored; version {live.number} stays "
            f"live until `tidemark redefine {name}` has built it"
        )


def _row(version: Version, is_live: bool) -> dict[str, str | int | None]:
    state = "live" if is_live else "replaced" if version.promoted else "built" if version.built else "declared"
    promoted = format_time(version.promoted) if version.promoted else None
    return {
        "version": version.number,
        "declared": format_time(version.declared),
        "promoted": promoted,
        "is": state,
    }
