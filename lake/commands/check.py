"""`tidemark check`: every mistake in the domain files, or the tree of what they declare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.tree import Tree

from lake.domain import Domain, load_domain, load_domains
from lake.errors import BadDomain
from lake.screen import console
from lake.settings import load_settings
from lake.view import MeasureUse, View


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Domain files; without them, all of lake/domains.")] = None,
) -> None:
    """Say every mistake in the domain files, with its line and the fix; exit 1 if there is one."""
    domains: list[Domain] = []
    told: list[str] = []
    try:
        if not files:
            domains += load_domains(load_settings().domains_dir).values()
    except BadDomain as error:
        told.append(str(error))
    for file in files or ():
        try:
            domains.append(load_domain(file.stem, file.parent))
        except BadDomain as error:
            told.append(str(error))
    for domain in domains:
        console().print(tree(domain))
    if told:
        typer.echo("\n".join(told), err=True)
        raise typer.Exit(1)


def tree(domain: Domain) -> Tree:
    """What a domain declares."""
    root = Tree(f"[bold]{domain.name}[/bold]  topic {domain.topic}, {domain.partitions} partitions")
    _add(root, "fields", (f"{n}  {f.type}" + ", required" * f.required for n, f in domain.fields.items()))
    _add(root, "dimensions", (f"{n}  on {d.on}: {', '.join(d.columns)}" for n, d in domain.dimensions.items()))
    if domain.dedup:
        root.add(escape(f"dedup  {domain.dedup.key}, within {domain.dedup.segments} segments"))
    _add(root, "sources", (f"{s.domain}" + (f"  where {s.where}" if s.where else "") for s in domain.sources))
    views = root.add("views")
    for view in domain.views.values():
        _add(views, view.name, _parts(view))
    return root


def _parts(view: View) -> Iterable[str]:
    if view.over:
        yield f"over {view.over}"
    yield from (f"each {name}: {expression}" for name, expression in view.each.items())
    if view.where:
        yield f"where {view.where}"
    if view.group_by:
        yield "by " + ", ".join(n if n == e else f"{n}: {e}" for n, e in view.group_by.items())
    yield from (f"{', '.join(view.measure_columns(n))} = {_call(use)}" for n, use in view.measures.items())
    yield from (f"{name} = {expression}  (at read)" for name, expression in view.values.items())
    shown = [f"having {view.having}"] if view.having else []
    shown += [f"order by {', '.join(view.order_by)}"] if view.order_by else []
    shown += [f"limit {view.limit}" + (f" per {', '.join(view.per)}" if view.per else "")] if view.limit else []
    shown += [f"{view.retention.days} days of {view.retention.key}"] if view.retention else []
    if shown:
        yield "shown: " + ", ".join(shown)


def _call(use: MeasureUse) -> str:
    return f"{use.kind}({', '.join([use.of, *(f'{name}: {value}' for name, value in use.options.items())])})"


def _add(above: Tree, name: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        branch = above.add(escape(name))
        for line in found:
            branch.add(escape(line))
