"""`tidemark what-if VIEW`: an alternative beside production, of exactly the same events."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lake.catalogue import owner
from lake.cuts import format_time
from lake.errors import TidemarkError
from lake.registry import live_domains
from lake.screen import print_json, print_table
from lake.serving import Serving
from lake.settings import load_settings
from lake.what_if import Comparison, parse_version, read_alternative
from lake.what_if import what_if as compare


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("what-if")(what_if)


def what_if(
    view: Annotated[str, typer.Argument(help="A view that is served.")],
    definition: Annotated[
        Path | None, typer.Option(help="A domain file, or one with `views:` alone, that defines it otherwise.")
    ] = None,
    dimension: Annotated[
        list[str] | None, typer.Option(help="A dimension's version that is to hold for all events, like users@7.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Only the rows that differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """What a view would show if it were defined otherwise, or a dimension were another; nothing is changed."""
    if definition is None and not dimension:
        raise TidemarkError("what-if needs an alternative: --definition other.yaml, --dimension users@7, or both")
    settings = load_settings()
    production = owner(live_domains(settings), view)
    alternative = read_alternative(production, definition, view) if definition else None
    versions = dict(parse_version(text) for text in dimension or [])
    compared = compare(settings, Serving(settings, production), view, alternative, versions)
    print_json(_document(compared, diff)) if as_json else _print(compared, diff)


def _document(compared: Comparison, diff: bool) -> dict:
    rows = compared.differing if diff else compared.rows
    return {
        "view": compared.view,
        "frontier": format_time(compared.frontier),
        "head": compared.head,
        "production": compared.production_hash,
        "alternative": compared.alternative_hash,
        "rows": len(compared.rows),
        "rows_differing": len(compared.differing),
        "compared": [asdict(row) for row in rows],
    }


def _print(compared: Comparison, diff: bool) -> None:
    rows = compared.differing if diff else compared.rows
    if rows:
        names = [f"{name}\n{what}" for name in rows[0].values for what in ("production", "alternative", "difference")]
        cells = (
            [*row.keys.values(), "" if row.side == "both" else row.side]
            + [cell for pair in row.values.values() for cell in (pair.production, pair.alternative, pair.difference)]
            for row in rows
        )
        print_table([*rows[0].keys, "only in", *names], cells)
    head = " ".join(f"{partition}:{offset}" for partition, offset in sorted(compared.head.items()))
    print(f"both as of frontier {format_time(compared.frontier)} and head {head or 'nothing'}")
    print(f"definition {compared.production_hash} in production, {compared.alternative_hash} in the alternative")
    print(f"{len(compared.rows)} rows, {len(compared.differing)} differ; nothing was changed")
