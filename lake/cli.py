"""`tidemark`: the command line. Starts what lives in other folders by name and answers queries itself."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from lake import commands
from lake.cuts import format_time, parse_time
from lake.domain import Domain, load_domain
from lake.errors import TidemarkError, exit_on_error
from lake.registry import live_domains
from lake.screen import console, print_rows
from lake.seal import seal as seal_cut
from lake.settings import Settings, load_settings
from lake.sql import Prompt

app = typer.Typer(
    help="Tidemark: views declared once, right now and right for ever.", no_args_is_help=True, add_completion=False
)
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_DomainOption = Annotated[str, typer.Option(help="The domain, a file in lake/domains.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]


def _hand_over(module: str, *arguments: str) -> NoReturn:
    """Become another folder's program."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _add_stack_command(name: str, summary: str) -> None:
    def command(context: typer.Context) -> None:
        _hand_over("local", name, *context.args)

    app.command(name, help=summary, context_settings=_PASS_ON)(command)


for _name, _summary in {
    "doctor": "Say what this machine lacks, and how to get it.",
    "setup": "Fetch and build the servers and jars, once.",
    "up": "Start the stack on this machine.",
    "down": "Stop all of it.",
    "status": "What runs, its memory, addresses and logins.",
    "logs": "Show a part's log.",
    "clean": "Stop all and remove the state.",
    "demo": "The whole path: backlog, live events, two batch slices, the merged answer, the proof.",
}.items():
    _add_stack_command(_name, _summary)


@app.command(context_settings=_PASS_ON)
def produce(context: typer.Context) -> None:
    """Send invented events of a domain (see --help)."""
    _hand_over("streaming.produce", *context.args)


@app.command()
def seal(
    at: Annotated[str, typer.Option(help="T, ISO 8601; UTC if it has no zone.")],
    domain: _DomainOption = "shop",
    as_json: _JsonOption = False,
) -> None:
    """Make cut(T) final and print it: markers to each partition, awaited in raw."""
    try:
        t = parse_time(at)
    except ValueError:
        raise TidemarkError(f"--at {at!r} is no time; write it like 2026-11-21T09:00:00Z") from None
    settings = load_settings()
    cut = seal_cut(settings, _domain(settings, domain), t)
    if as_json:
        print(json.dumps({"domain": domain, "t": format_time(t), "cut": cut}))
    else:
        print(f"cut({format_time(t)}) of {domain}: {cut}")


@app.command()
def sql(
    statement: Annotated[str | None, typer.Argument(help="A SELECT; without it, a prompt.")] = None,
    as_json: _JsonOption = False,
) -> None:
    """Query merged views, and raw, marts, speed and quarantine beside them."""
    settings = load_settings()
    prompt = Prompt(settings, live_domains(settings))
    if statement is not None:
        print_rows(prompt.query(statement), as_json)
        return
    screen = console()
    screen.print(f"tables: {', '.join(prompt.tables)}\nend with an empty line or Ctrl-D")
    while line := _read_line():
        try:
            print_rows(prompt.query(line), as_json)
        except TidemarkError as error:
            screen.print(f"[red]{error}[/red]")


for _info in pkgutil.iter_modules(commands.__path__):
    import_module(f"{commands.__name__}.{_info.name}").add_to(app)


def main() -> None:
    """The console script: a TidemarkError is a sentence on stderr and exit code 2, not a traceback."""
    with exit_on_error():
        app()


def _domain(settings: Settings, name: str) -> Domain:
    return load_domain(name, settings.domains_dir)


def _read_line() -> str:
    try:
        return input("tidemark> ").strip()
    except EOFError:
        return ""


if __name__ == "__main__":
    main()
