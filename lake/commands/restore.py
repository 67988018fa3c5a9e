"""`tidemark restore`: a topic that was made anew goes on where an old raw ends."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lake.domain import load_domain
from lake.restore import restore as restore_topic
from lake.screen import print_json
from lake.settings import load_settings


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(restore)


def restore(
    domain: Annotated[str, typer.Argument(help="The domain whose raw is there and whose topic is not.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Let a new, empty topic go on at the offsets where raw ends; run again, it goes on. Producers come after it."""
    settings = load_settings()
    done = restore_topic(settings, load_domain(domain, settings.domains_dir), lambda line: print(line, file=sys.stderr))
    if as_json:
        print_json(asdict(done))
    elif done.is_done:
        print(f"{domain}: its topic goes on at {done.positions}; {done.filled} fillers in {done.seconds:.1f} s")
    else:
        print(f"{domain}: nothing to do, raw was landed from this very topic ({done.topic_id})")
