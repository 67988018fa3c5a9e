"""Starts the speed layer of some domains on a runner, and ends with it.

Invariant: whenever this process ends, however it ends, nothing of it goes on: a supervisor may start it again at once.
It ends by itself when other generations are to be kept than those it was started with.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Annotated, Literal, NoReturn

import apache_beam as beam
import grpc
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
from streaming.runners import BUNDLE_SECONDS, environments, started
from streaming.scratch import scratch
from streaming.worker_metrics import registry_with_workers

log = structlog.get_logger()

# Beam's name says start-up, but it is also the deadline of the stream that watches the job: its default ends any
# streaming job after five minutes.
_FOREVER_SECONDS = 10 * 365 * 24 * 3600
# Without the cache: a directory that Beam would make for everybody, and leave empty.
_OPTIONS = ("--streaming", "--requirements_cache=skip", f"--job_server_timeout={_FOREVER_SECONDS}")
_LOOK_SECONDS = 2.0
OTHER_GENERATIONS = 75
"""The exit code that asks a supervisor to start this again (EX_TEMPFAIL)."""
_ASKED = {signal.SIGTERM: 0, signal.SIGINT: 0, signal.SIGUSR1: OTHER_GENERATIONS}
"""What asks this process to end, and its exit code then; the last is its own."""


def run(settings: Settings, running: dict[Generation, Domain], groups: int, workers: int) -> None:
    """Until the process is stopped; returns or raises if the runner ends, for a supervisor to start it again."""
    with scratch("speed") as folder:
        if announce_metrics(settings, registry_with_workers(folder)):
            for (name, generation), domain in running.items():
                watch_speed(settings, name, domain.topic, generation)
        job = "-".join(["tidemark-speed", *sorted({name for name, _ in running})])
        with started(settings, job, workers, folder) as chosen:
            pipeline = beam.Pipeline(options=PipelineOptions([*chosen, *_OPTIONS]))
            for (name, generation), domain in running.items():
                log.info("keeping", domain=name, generation=generation)
                spread = groups, BUNDLE_SECONDS[settings.runner], environments(settings, workers)
                build(pipeline, load_settings, domain, generation, *spread)
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
            os.kill(os.getpid(), signal.SIGUSR1)
            return


class _Asked(BaseException):
    """To end, with an exit code; raised in the main thread, which takes down what it has started."""


def _ask(number: int, _: object) -> NoReturn:
    code = _ASKED[signal.Signals(number)]
    for each in _ASKED:
        signal.signal(each, lambda *_: os._exit(code))  # asked again: at once
    raise _Asked(code)


def main(
    domain: Annotated[list[str] | None, typer.Option(help="A domain whose views are kept; may be given again.")] = None,
    groups: Annotated[int, typer.Option(min=1, help="Readers side by side; each has a share of the partitions.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that carry them; Prism has one.")] = 1,
    runner: Annotated[Literal["prism", "flink"] | None, typer.Option(help="Wins over TIDEMARK_RUNNER.")] = None,
) -> None:
    """Keep the speed views of some domains until stopped; without --domain, shop's."""
    configure_logs()
    try:
        with exit_on_error():
            settings = load_settings()
            settings = settings.model_copy(update={"runner": runner or settings.runner})
            code = _keep(settings, Generations(settings, domain or ["shop"]), groups, workers)
    except SystemExit as ended:
        code = int(ended.code or 0)
    # Beam's threads do not end on request. There is nothing to save: the store holds all.
    sys.stderr.flush()
    os._exit(code)


def _keep(settings: Settings, generations: Generations, groups: int, workers: int) -> int:
    """Until it is asked to end, or the runner has ended: the exit code."""
    running = generations.running()
    try:
        for number in _ASKED:
            signal.signal(number, _ask)
        threading.Thread(target=end_on_change, args=(generations, running), daemon=True).start()
        run(settings, running, groups, workers)
        log.error("the runner ended by itself")
    except _Asked as asked:
        log.info("stopped")
        return int(asked.args[0])
    except TidemarkError:
        raise
    except Exception as error:
        told = error.details() if isinstance(error, grpc.Call) else str(error)
        log.error("the runner failed", error=told.splitlines()[0])
    return 1


if __name__ == "__main__":
    typer.run(main)
