"""`tidemark verify` and `tidemark verifications`: prove what is served, and what earlier proofs have found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lake.errors import TidemarkError
from lake.registry import live_domain, live_domains
from lake.screen import console, print_json, print_table
from lake.settings import load_settings
from lake.verifications import Verification, Verifications, verify_and_keep
from lake.verify import Report
from lake.verify import verify as verify_domain

_Domain = Annotated[str | None, typer.Option(help="One domain instead of all.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify)
    app.command("verifications")(verifications)


def verify(
    domain: _Domain = None,
    keep: Annotated[bool, typer.Option(help="Keep the result in the lake, where the dashboard finds it.")] = True,
    as_json: _Json = False,
) -> None:
    """Recompute every view from raw and compare with what is served. Exit 1 if anything differs, 2 if it cannot be
    told."""
    settings = load_settings()
    domains = [live_domain(settings, domain)] if domain else list(live_domains(settings).values())
    reports, failures = [], []
    for each in domains:
        try:
            reports.append(verify_and_keep(settings, each) if keep else verify_domain(settings, each))
        except TidemarkError as error:
            failures.append(error if domain else TidemarkError(f"{each.name}: {error}"))
    ok = not failures and all(report.ok for report in reports)
    if as_json:
        print_json({"ok": ok, "domains": [report.as_dict() for report in reports]})
    else:
        for report in reports:
            _print_report(report)
    if failures:
        raise failures[0] if len(failures) == 1 else TidemarkError("\n".join(map(str, failures)))
    if not ok:
        raise typer.Exit(1)


def verifications(
    domain: _Domain = None,
    last: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 10,
    as_json: _Json = False,
) -> None:
    """What the last verifications have found: when, up to which offsets, exact or not."""
    found = Verifications(load_settings()).last(last, domain)
    if as_json:
        print_json({"verifications": [asdict(each) for each in found]})
        return
    headings = ("domain", "at", "verdict", "rows compared", "mismatches", "seconds", "heads", "problems")
    print_table(headings, (_row(each) for each in found))


def _row(verification: Verification) -> tuple[object, ...]:
    heads = " ".join(f"{partition}:{offset}" for partition, offset in sorted(verification.heads.items()))
    return (
        *(
            verification.domain,
            verification.at,
            verification.verdict,
            verification.rows_compared,
            verification.mismatches,
        ),
        *(f"{verification.seconds:.1f}", heads, "\n".join(verification.problems)),
    )


def _print_report(report: Report) -> None:
    views = Table(
        "view", "frontier", "head", "rows compared", "from batch", "from speed", "mismatches", title=report.domain
    )
    for view in report.views:
        row = asdict(view)
        head = " ".join(f"{partition}:{offset}" for partition, offset in sorted(view.head.items()))
        views.add_row(
            *(view.view, view.frontier, head),
            *(str(row[c]) for c in ("rows_compared", "from_batch", "from_speed")),
            f"[red]{view.mismatches}[/red]" if view.mismatches else "0",
        )
    screen = console()
    screen.print(views)
    screen.print(
        f"raw: {report.raw_records} records, {report.raw_gaps} missing, {report.raw_duplicates} doubled; "
        + ", ".join(f"partition {p['partition']}: {p['good']} good, {p['quarantined']} bad" for p in report.partitions)
    )
    for problem in report.problems:
        screen.print(f"[red]✗[/red] {escape(problem)}")
    for view in report.views:
        for example in view.examples:
            screen.print(f"  {view.view}, {escape(example)}")
    if report.ok:
        screen.print("[green]✓[/green] every number served equals a recompute from raw")
