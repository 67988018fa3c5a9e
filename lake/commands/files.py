"""`tidemark import` and `tidemark push`: files of records, and files of any kind, brought onto the log."""

from __future__ import annotations

import os
import sys

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import", context_settings=_PASS_ON)(import_events)
    app.command("push", context_settings=_PASS_ON)(push_files)


def import_events(context: typer.Context) -> None:
    """Send the records of files as events of a domain: JSON lines, CSV, Parquet, plain lines (see --help)."""
    os.execv(sys.executable, [sys.executable, "-m", "streaming.import_events", *context.args])


def push_files(context: typer.Context) -> None:
    """Put files of any kind into the lake, and an event for each onto a domain's topic (see --help)."""
    os.execv(sys.executable, [sys.executable, "-m", "streaming.push_files", *context.args])
