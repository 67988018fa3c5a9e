"""`tidemark redefine`: make a domain file's content the live version, without a gap."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    app.command()(redefine)


def redefine(
    domain: Annotated[str, typer.Argument(help="The domain whose file has changed.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")] = False,
) -> None:
    """Build what a domain file changes in the shadow, then move over to it at once; run again, it goes on."""
    arguments = ["--domain", domain, *(["--json"] if as_json else [])]
    os.execv(sys.executable, [sys.executable, "-m", "jobs.redefine", *arguments])
