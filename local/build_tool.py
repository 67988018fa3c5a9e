"""`python -m local.build_tool NAME DIRECTORY`: one of the tools on its own, as an image of it needs it.

Invariant: it is the one that `make setup` builds, out of the same cache.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from lake.errors import BadSettings, exit_on_error
from local.tools import RECIPES, build_one


def main(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(RECIPES)}.")],
    directory: Annotated[Path, typer.Argument(help="Where to; made if it is not there.")],
) -> None:
    """Build a tool, or take it from the cache, and copy its files."""
    with exit_on_error():
        if name not in RECIPES:
            raise BadSettings(f"'{name}' is no tool; there are {', '.join(RECIPES)}")
        shutil.copytree(build_one(name), directory, dirs_exist_ok=True)


if __name__ == "__main__":
    typer.run(main)
