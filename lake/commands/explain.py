"""`tidemark explain VIEW`: how a view is computed, grouping by grouping, with the kernel's SQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lake.catalogue import owner
from lake.domain import load_domains
from lake.explain import Explanation
from lake.explain import explain as explain_view
from lake.registry import live_domains
from lake.screen import print_json, print_table
from lake.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    view: Annotated[str, typer.Argument(help="A view of any domain.")],
    live: Annotated[bool, typer.Option(help="What is served, instead of what the domain files say.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """Which grouping each part of a view uses in both layers, what is stored, what is computed at read, and its SQL."""
    settings = load_settings()
    told = explain_view(owner(live_domains(settings) if live else load_domains(settings.domains_dir), view), view)
    print_json(asdict(told)) if as_json else _print(told)


def _print(told: Explanation) -> None:
    print(f"{told.view}, a view of {told.domain}; definition {told.definition_hash}")
    if told.view != told.stored_view:
        print(f"computed at read from {told.stored_view}, whose states are stored")
    if told.rows:
        print(f"rows: {told.rows}")
    parts = ((p.name, p.batch, p.batch_how, p.speed, p.speed_how) for p in told.parts)
    print_table(("part", "batch: grouping", "how", "speed: grouping", "how"), parts)
    stored = ((name, "key" if name in told.keys else "state", kind) for name, kind in told.stored.items())
    print_table(("stored", "as", "type"), stored)
    print_table(("computed at read", "type"), told.at_read.items())
    for step, sql in told.sql.items():
        print(f"\n-- {step}\n{sql};")
