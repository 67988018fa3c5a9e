"""Starts the speed layer of some domains on Prism, and ends with it.

Invariant: whenever this process ends, however it ends, nothing of it goes on: a supervisor may start it again at once.
It ends by itself when other generations are to be kept than those it was started with.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Annotated, NoReturn

import apache_beam as beam
import structlog
import typer
from apache_beam.options.pipeline_options import PipelineOptions

from lake.domain import Domain
from lake.errors import TidemarkError, exit_on_error
from lake.settings import Settings, load_settings
from streaming.gauges import announce_metrics, watch_speed
from streaming.generations import Generation, Generations
from streaming.logs import configure_logs
from streaming.pipeline import build
from streaming.prism import prism

log = structlog.get_logger()

# Beam's name says start-up, but it is also the deadline of the stream that watches the job: its default ends any
# streaming job after five minutes.
_FOREVER_SECONDS = 10 * 365 * 24 * 3600
_LOOK_SECONDS = 2.0
OTHER_GENERATIONS = 75
"""The exit code that asks a supervisor to start this again (EX_TEMPFAIL)."""


def run(settings: Settings, running: dict[Generation, Domain], groups: int) -> None:
    """Until the process is stopped; returns or raises if the runner ends, for a supervisor to start it again."""
    with prism(settings.prism_binary) as address:
        options = PipelineOptions(
            [
                *("--runner=PrismRunner", f"--job_endpoint={address}", "--environment_type=LOOPBACK", "--streaming"),
                f"--job_server_timeout={_FOREVER_SECONDS}",
            ]
        )
        pipeline = beam.Pipeline(options=options)
        for (name, generation), domain in running.items():
            log.info("keeping", domain=name, generation=generation)
            build(pipeline, settings, domain, generation, groups)
        pipeline.run().wait_until_finish()


def end_on_change(generations: Generations, running: dict[Generation, Domain]) -> None:
    """Look every couple of seconds whether the same generations are to be kept; end the process if not."""
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            wanted = generations.running()
        except Exception as error:  # the lake is away, say: what runs goes on, and the next look may succeed
            log.warning("cannot look at the registry", error=f"{type(error).__name__}: {error}")
            continue
        if wanted.keys() != running.keys():
            log.info("other generations are to be kept, starting anew", generations=sorted(wanted))
            _exit(OTHER_GENERATIONS)


def main(
    domain: Annotated[list[str] | None, typer.Option(help="A domain whose views are kept; may be given again.")] = None,
    groups: Annotated[int, typer.Option(min=1, help="Readers side by side; each has a share of the partitions.")] = 1,
) -> None:
    """Keep the speed views of some domains until stopped; without --domain, shop's."""
    configure_logs()
    with exit_on_error():
        settings = load_settings()
        generations = Generations(settings, domain or ["shop"])
        running = generations.running()
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        if announce_metrics(settings):
            for name, generation in running:
                watch_speed(settings, name, running[name, generation].topic, generation)
        threading.Thread(target=end_on_change, args=(generations, running), daemon=True).start()
        try:
            run(settings, running, groups)
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
