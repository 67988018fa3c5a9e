"""The program that Flink starts to run a pipeline's Python: Beam's worker, as `tidemark-worker`.

Invariant: it does not outlive the Flink that started it, however that ends. It fetches nothing, neither code nor
settings: it is of the same installation, and in the same environment, as the speed job.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from typing import Annotated, NoReturn

import grpc
import typer
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

from streaming.logs import configure_logs

app = typer.Typer(add_completion=False)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def main(
    worker: Annotated[str, typer.Option("--id", help="What Flink calls this worker.")],
    provision_endpoint: Annotated[str, typer.Option("--provision_endpoint", help="Who tells what it is to do.")],
) -> None:
    """Run the Python of a pipeline for the Flink that started this, as Beam's boot program does."""
    configure_logs()
    threading.Thread(target=_end_with, args=(os.pidfd_open(os.getppid()),), daemon=True).start()
    with grpc.insecure_channel(provision_endpoint) as channel:
        asked = beam_provision_api_pb2.GetProvisionInfoRequest()
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = service.GetProvisionInfo(asked, metadata=[("worker_id", worker)]).info
    os.environ |= {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    try:
        sdk_worker_main.main([])
    finally:
        _end(1)


def _end_with(process: int) -> None:
    # Not PR_SET_PDEATHSIG: that tells of the thread that started us, and Flink's come and go.
    watched = select.poll()
    watched.register(process, select.POLLIN)
    watched.poll()
    _end(0)


def _end(code: int) -> NoReturn:
    # Beam's threads do not end on request, and there is nothing to save: the store holds all.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    app()
