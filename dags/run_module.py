"""A task that is one of Tidemark's programs, run by this worker's interpreter in a process of its own.

Invariant: the program and its arguments are a list that no shell reads, and it ends with the task: at a time-out and
at SIGTERM the task ends it and what it has started; if the task's process is lost, the kernel ends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryFile
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from dags.masking import mask_secrets
from dags.program import Arguments, Program, last_document, last_words
from lake.parent import end_with
from lake.settings import load_settings


class RunModule(Program, BaseOperator):
    """`python -m <module> <arguments> --json`: its stderr is the task's log, the last document on its stdout the XCom.

    A program that ends with an error is tried again, its last words being the error.
    """

    template_fields = ("domain",)

    def __init__(
        self,
        *,
        module: str,
        domain: Any,
        arguments: Arguments,
        tell: Callable[[Any], str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.module = module
        self.domain = domain
        self.make_arguments = arguments
        self.tell = tell
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Mapping[str, Any]) -> Any:
        masked = mask_secrets(load_settings())
        arguments = self.ask_arguments(context)
        self.log.info("python -m %s %s", self.module, masked(" ".join(arguments)))
        with TemporaryFile("w+", errors="backslashreplace") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                start_new_session=True,
                # Airflow runs a task in its process's main thread.
                preexec_fn=partial(end_with, os.getpid()),
            )
            said = self._told(self._process, masked)
            code = self._process.wait()
            output.seek(0)
            printed = output.read().splitlines()
        if code:
            # What it found may be in the document alone, as the mismatches of a verification.
            raise AirflowException(f"{self.module} ended with {code}:\n{masked(last_words(said or printed))}")
        self.result = last_document(printed, masked)
        self.log.info("done: %s", masked(str(self.result)))
        return self.result

    def on_kill(self) -> None:
        """End the program and what it has started; called by Airflow on a time-out and on SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def _told(self, process: subprocess.Popen[str], masked: Callable[[str], str]) -> list[str]:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(masked(line.rstrip()))
            self.log.info("%s", lines[-1])
        return lines
