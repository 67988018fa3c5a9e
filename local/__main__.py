"""`python -m local`: the stack on one machine, from an empty cache to a running demo and back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lake.domain import load_domain
from lake.errors import exit_on_error
from local.doctor import examine
from local.errors import PartFailed
from local.parts import AIRFLOW, DOMAINS, SERVERS
from local.ports import Ports
from local.showcase import DEFAULT
from local.stack import Stack
from local.status import read_status, render
from local.tools import find_tools, set_up

_HELP = "The stack on one machine, from an empty cache to a running demo and back."
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP)
console = Console()
_Domains = Annotated[str | None, typer.Option(help="Which domains run: all, or names with commas between.")]


def _home() -> Path:
    return Path(os.environ.get("TIDEMARK_HOME") or ".tidemark").absolute()


def _stack() -> Stack:
    return Stack(_home(), find_tools())


@app.command()
def doctor() -> None:
    """Name what this machine lacks, and how to get it."""
    with exit_on_error():
        tools = find_tools()
        stack = Stack(_home(), tools)
        is_running = stack.supervisor.process() is not None
        findings = examine(_home(), _ports(stack), own_ports=is_running, is_set_up=tools.are_built)
    table = Table("", "what", "found", "wanted", box=None)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]--[/]"
        table.add_row(mark, finding.what, finding.found, finding.wanted)
    console.print(table)
    missing = [finding for finding in findings if not finding.ok]
    for finding in missing:
        typer.echo(finding.sentence)
    if missing:
        raise typer.Exit(1)
    typer.echo("Nothing is missing.")


@app.command()
def setup(
    flink: Annotated[bool, typer.Option("--flink", help="Beam's Flink runner, too.")] = False,
) -> None:
    """Fetch and build the tools, once; a second run finds them in the cache."""
    with exit_on_error():
        set_up(typer.echo, flink)


@app.command()
def up(
    parts: Annotated[list[str] | None, typer.Argument(help="Which; all by default.")] = None,
    domains: _Domains = None,
) -> None:
    """Start parts of the stack and wait until they serve."""
    from local.provision import provision

    with exit_on_error():
        stack = configured_stack(domains)
        names = list(parts or stack.parts())
        if "airflow" in names:
            names += AIRFLOW[1:]
        if unknown := set(names) - set(stack.parts()):
            raise PartFailed(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(stack.parts())}")
        stack.up([name for name in names if name in SERVERS])
        if set(SERVERS) <= set(stack.running()):
            settings = stack.settings()
            for name in stack.domains:
                provision(settings, load_domain(name, settings.domains_dir))
        stack.up([name for name in names if name not in SERVERS])
        console.print(render(read_status(stack)), soft_wrap=True, highlight=False)


@app.command()
def down() -> None:
    """Stop everything; data and logins stay."""
    with exit_on_error():
        stopped = _stack().stop()
    typer.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, last.")] = False,
) -> None:
    """Show state, memory (PSS), addresses and logins of every part."""
    with exit_on_error():
        found = read_status(_stack())
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        console.print(render(found), soft_wrap=True, highlight=False)


@app.command()
def logs(name: str, follow: Annotated[bool, typer.Option("-f", help="Go on as it grows.")] = False) -> None:
    """Show a part's log."""
    with exit_on_error():
        directory = _home() / "logs"
        log = directory / f"{name}.log"
        if not log.is_file():
            known = sorted(path.stem for path in directory.glob("*.log"))
            raise PartFailed(f"there is no log of {name} in {directory}; there are: {', '.join(known) or 'none yet'}")
    os.execvp("tail", ["tail", "-n", "200", *(["-F"] if follow else []), str(log)])


@app.command()
def clean() -> None:
    """Stop everything and remove all its data; the cache of tools stays."""
    down()
    if _home().exists():
        shutil.rmtree(_home())
        typer.echo(f"Removed {_home()}.")


@app.command()
def demo(domains: _Domains = None) -> None:
    """Run the whole platform: backlog, live events, two batch slices, the merged answer, its proof."""
    from local.demo import run_demo  # the engine behind it loads slower than `status` takes

    with exit_on_error():
        stack = configured_stack(domains, segment_seconds=10)
        run_demo(stack)
        console.print(render(read_status(stack)), soft_wrap=True, highlight=False)


def configured_stack(domains: str | None = None, segment_seconds: int = 60) -> Stack:
    """The stack of this home, its tools built and settings.env written; by default with the domains of last time."""
    stack = Stack(_home(), set_up(typer.echo, flink=os.environ.get("TIDEMARK_RUNNER") == "flink"))
    chosen = domains or os.environ.get(DOMAINS)
    if chosen is None and stack.supervisor.process() is None:  # what runs goes on with what it has
        chosen = stack.variables().get(DOMAINS) or DEFAULT
    stack.configure(_ports(stack), int(os.environ.get("TIDEMARK_SEGMENT_SECONDS") or segment_seconds), chosen)
    return stack


def _ports(stack: Stack) -> Ports:
    """The environment wins over what settings.env remembers."""
    return Ports.read(stack.variables() | dict(os.environ))


if __name__ == "__main__":
    app(prog_name="tidemark")  # which hands these commands over
