"""What all programs of this folder share: their first arguments, and the words that they say while they work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

Say = Callable[[str], None]


def say(line: str) -> None:
    """A line on stderr, at once: stdout is for the outcome."""
    print(line, file=sys.stderr, flush=True)


def argument_parser(name: str, description: str) -> argparse.ArgumentParser:
    """A parser that knows `--domain` and `--json`; `name` is how the program is called."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--json", action="store_true", help="print one JSON document, last")
    return parser
