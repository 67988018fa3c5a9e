"""Starts the speed layer of a domain on Prism, and ends with it.

Invariant: whenever this process ends, however it ends, nothing of it goes on: a supervisor may start it again at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, NoReturn

import apache_beam as beam
import structlog
import typer
from apache_beam.options.pipeline_options import PipelineOptions

from lake.domain import Domain, load_domain
from lake.errors import TidemarkError, exit_on_error
from lake.settings import Settings, load_settings
from streaming.logs import configure_logs
from streaming.pipeline import build
from streaming.prism import prism

log = structlog.get_logger()

# Beam's name says start-up, but it is also the deadline of the stream that watches the job: its default ends any
# streaming job after five minutes.
_FOREVER_SECONDS = 10 * 365 * 24 * 3600


def run(settings: Settings, domain: Domain, groups: int) -> None:
    """Until the process is stopped; returns or raises if the runner ends, for a supervisor to start it again."""
    with prism(settings.prism_binary) as address:
        options = PipelineOptions(
            [
                *("--runner=PrismRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK", "--streaming"),
                f"--job_server_timeout={_FOREVER_SECONDS}",
            ]
        )
        pipeline = beam.Pipeline(options=options)
        build(pipeline, settings, domain, groups)
        pipeline.run().wait_until_finish()


def main(
    domain: Annotated[str, typer.Option(help="The domain whose views are kept.")] = "shop",
    groups: Annotated[int, typer.Option(min=1, help="Readers side by side; each has a share of the partitions.")] = 1,
) -> None:
    """Keep a domain's speed views until stopped."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        declared = load_domain(domain, settings.domains_dir)
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        try:
            run(settings, declared, groups)
        except TidemarkError:
            raise
        except Exception as error:
            log.error("the runner failed", error=str(error).splitlines()[0])
        else:
            log.error("the runner ended by itself")
        _exit(1)


def _stop(*_: object) -> None:
    log.info("stopped")
    _exit(0)


def _exit(code: int) -> NoReturn:
    # Beam's threads do not end on request. There is nothing to save: the store holds all, and Prism dies with us.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    typer.run(main)
