"""`python -m dashboard`: the page's server, which serves its metrics before its first visitor; Streamlit's options."""

from __future__ import annotations

import sys
from pathlib import Path

from streamlit.web import cli

from lake.errors import exit_on_error
from lake.metrics import serve_metrics
from lake.settings import load_settings


def main() -> None:
    """Serve until stopped. Exits with 2 where nothing can listen on the metrics' port."""
    with exit_on_error():
        serve_metrics(load_settings())
    cli.main(["run", str(Path(__file__).parent / "app.py"), *sys.argv[1:]], prog_name="streamlit")


if __name__ == "__main__":
    main()
