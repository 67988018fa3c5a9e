"""`tidemark catalog`: what there is to ask, whose it is, and what it is made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lake.catalogue import Catalogue, Column, Entry
from lake.domain import load_domains
from lake.registry import live_domains
from lake.screen import console, print_json, print_table
from lake.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("catalog")(catalog)


def catalog(
    name: Annotated[
        str | None, typer.Argument(help="A domain, a dimension (shop.users), a view, or a column (shop.amount).")
    ] = None,
    live: Annotated[bool, typer.Option(help="What is served, instead of what the domain files say.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """What there is: domains, dimensions, views and columns, with owner, unit, type and lineage."""
    settings = load_settings()
    catalogue = Catalogue((live_domains(settings) if live else load_domains(settings.domains_dir)).values())
    entries = list(catalogue.entries.values())
    if name is None:
        documents = [_entry_document(catalogue, entry) for entry in entries]
        print_json({"entries": documents}) if as_json else _print_entries(entries)
        return
    above, _, last = name.rpartition(".")
    if name not in catalogue.entries and above in catalogue.entries:
        entry = catalogue.entry(above)
        document = _column_document(catalogue, entry, entry.column(last))
        print_json(document) if as_json else _print_column(name, document)
        return
    entry = catalogue.entry(name)
    print_json(_entry_document(catalogue, entry)) if as_json else _print_entry(catalogue, entry)


def _entry_document(catalogue: Catalogue, entry: Entry) -> dict:
    columns = [_column_document(catalogue, entry, column) for column in entry.columns]
    return {**asdict(entry), "columns": columns}


def _column_document(catalogue: Catalogue, entry: Entry, column: Column) -> dict:
    lineage = {"origins": catalogue.origins(entry, column), "used_by": catalogue.users(f"{entry.name}.{column.name}")}
    return {**asdict(column), **lineage}


def _print_entries(entries: list[Entry]) -> None:
    rows = ((e.name, e.kind, e.owner, ", ".join(e.reads), e.description) for e in entries)
    print_table(("name", "kind", "owner", "reads", "description"), rows)
    console().print("`tidemark catalog NAME` shows its columns, `tidemark catalog NAME.COLUMN` a column's lineage")


def _print_entry(catalogue: Catalogue, entry: Entry) -> None:
    told = {
        "what": entry.description,
        "owner": entry.owner,
        "reads": ", ".join(entry.reads),
        "rows": entry.rows,
    }
    for word, text in told.items():
        if text:
            print(f"{word:6} {text}")
    rows = [
        (c.name, c.type, c.unit, c.kind, c.expression, ", ".join(catalogue.origins(entry, c)), c.description)
        for c in entry.columns
    ]
    headings = ("column", "type", "unit", "kind", "expression", "from", "description")
    used = [index for index, _ in enumerate(headings) if any(row[index] for row in rows)]
    print_table([headings[index] for index in used], ([row[index] for index in used] for row in rows))


def _print_column(name: str, document: dict) -> None:
    print(f"{name}: {document['type']}" + (f", {document['unit']}" if document["unit"] else ""))
    for word in ("description", "kind", "expression", "made_from", "origins", "used_by"):
        told = document[word]
        if told:
            print(f"{word:12} {told if isinstance(told, str) else ', '.join(told)}")
