"""A task that is one of Tidemark's programs, run by this worker's interpreter in a process of its own.

Invariant: the program and its arguments are a list that no shell reads, and the process ends with the task, whether
the task times out, is killed or fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from tempfile import TemporaryFile
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lake.errors import TidemarkError


class RunModule(BaseOperator):
    """`python -m <module> <arguments> --json`: its stderr is the task's log, the document on its stdout the XCom.

    `arguments` is called with the domain that it works on and the task's context. A TidemarkError that it raises fails
    the task for good, since asking again would not help; a program that ends with an error is tried again, its last
    words being the error.
    """

    template_fields = ("domain",)

    def __init__(
        self, *, module: str, domain: Any, arguments: Callable[[str, Mapping[str, Any]], Sequence[str]], **options: Any
    ) -> None:
        super().__init__(**options)
        self.module = module
        self.domain = domain
        self.arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Mapping[str, Any]) -> Any:
        try:
            arguments = [*self.arguments(self.domain, context), "--json"]
        except TidemarkError as error:
            raise AirflowFailException(str(error)) from None
        self.log.info("python -m %s %s", self.module, " ".join(arguments))
        with TemporaryFile("w+") as document:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=document,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                start_new_session=True,
            )
            said = [line.rstrip() for line in self._told(self._process)]
            if code := self._process.wait():
                words = "\n".join(said[-20:]) or "it said nothing"
                raise AirflowException(f"{self.module} ended with {code}:\n{words}")
            document.seek(0)
            result = json.load(document)
            self.log.info("done: %s", result)
            return result

    def on_kill(self) -> None:
        """End the program and what it has started; called by Airflow on a time-out and on SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)

    def _told(self, process: subprocess.Popen[str]) -> list[str]:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            self.log.info("%s", line.rstrip())
            lines.append(line)
        return lines
