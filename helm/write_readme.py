"""Writes the table of values in the chart's README from the comments of values.yaml.

Invariant: a value's line is the comment above it; `python helm/write_readme.py --check` fails where the two differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "tidemark"
README = CHART / "README.md"
BEGIN, END = "<!-- values -->\n", "<!-- end of values -->\n"
RESOURCES = "What its container asks for, and may use at most"


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of each value. Raises ValueError for one without a comment."""
    yield from _rows(yaml.compose(text), "", text.splitlines())


def _rows(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        comment = RESOURCES if key.value == "resources" else _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and not comment:
            yield from _rows(value, f"{name}.", lines)
        elif not comment:
            raise ValueError(f"values.yaml:{key.start_mark.line + 1}: {name} has no comment above it")
        else:
            yield name, json.dumps(yaml.safe_load(yaml.serialize(value)), ensure_ascii=False), comment


def _comment(lines: list[str], line: int) -> str:
    """The lines above, as far as they are comments at the key's indentation."""
    indent = len(lines[line]) - len(lines[line].lstrip())
    found: list[str] = []
    while line > 0 and lines[line - 1].startswith(" " * indent + "# "):
        line -= 1
        found.insert(0, lines[line].strip("# "))
    return " ".join(found)


def table(text: str) -> str:
    """The values as a Markdown table."""
    cells = [(f"`{name}`", f"`{default}`", meaning.replace("|", "\\|")) for name, default, meaning in rows(text)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [("value", "default", "meaning"), ("---",) * 3, *cells])


def readme() -> str:
    """The README as it should be."""
    before, rest = README.read_text().split(BEGIN)
    return f"{before}{BEGIN}\n{table((CHART / 'values.yaml').read_text())}\n{END}{rest.split(END)[1]}"


def main() -> None:
    wanted = readme()
    if "--check" not in sys.argv:
        README.write_text(wanted)
    elif README.read_text() != wanted:
        sys.exit(f"{README} is not in step with values.yaml: run `python {Path(__file__).name}`")


if __name__ == "__main__":
    main()
