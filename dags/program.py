"""What the two operators that run one of Tidemark's programs share: which program, over what, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lake.errors import TidemarkError

Arguments = Callable[[str, Mapping[str, Any]], Sequence[str]]
"""The program's arguments, of the domain that it works on and the task's context; asked when the task runs."""
LAST_LINES = 20


class Program:
    """Mixed into an operator: `python -m <module> <arguments> --json` about one domain."""

    module: str
    domain: Any
    make_arguments: Arguments
    tell: Callable[[Any], str] | None
    result: Any = None

    @property
    def summary(self) -> str:
        """What the task is called among its like: its domain and, once it has ended, what came of it."""
        told = self.tell(self.result) if self.tell and self.result is not None else ""
        return f"{self.domain}: {told}" if told else str(self.domain)

    def ask_arguments(self, context: Mapping[str, Any]) -> list[str]:
        """Raises AirflowFailException where the request itself is wrong, since asking again would not help."""
        try:
            return [*self.make_arguments(self.domain, context), "--json"]
        except TidemarkError as error:
            raise AirflowFailException(str(error)) from None


def of_domain(domain: str, _context: Mapping[str, Any]) -> list[str]:
    """The arguments of a program that is told nothing but its domain."""
    return ["--domain", domain]


def last_document(lines: Sequence[str], masked: Callable[[str], str]) -> Any:
    """The last line that is a JSON object; others are a JVM's, which says its warnings on the stdout of the program.

    Raises AirflowException if none is, with the last lines, `masked`.
    """
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    raise AirflowException(f"the program said no result in its last {len(lines)} lines:\n{masked(last_words(lines))}")


def last_words(lines: Sequence[str]) -> str:
    """The end of what a program said, for the message of its failure."""
    return "\n".join(lines[-LAST_LINES:]) or "it said nothing"
