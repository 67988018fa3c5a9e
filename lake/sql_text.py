"""SQL laid out for people: a line for each clause, subqueries indented.

Invariant: only white space outside strings and quoted names differs from what went in.
"""

from __future__ import annotations

import re

_WIDTH = 110
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\s+|[](){}[,]|[^]\s'"(){}[,]+""")
_CLAUSES = ("WITH", "SELECT", "FROM", "WHERE", "GROUP", "HAVING", "QUALIFY", "ORDER", "LIMIT", "LEFT", "UNION")
_OPENING = ("SELECT", "WITH")
_OPEN, _CLOSE = ("(", "[", "{"), (")", "]", "}")
_JOINTS = ("WHEN", "ELSE", "OR", "AND", "|")


def layout(sql: str) -> str:
    """The same statement, over several lines."""
    return _Layout().of([" " if token.isspace() else token for token in _TOKEN.findall(sql.strip())])


class _Layout:
    """Writes token after token. `_nested` has, for each open parenthesis, whether it holds a query."""

    def __init__(self) -> None:
        self._lines: list[str] = [""]
        self._nested: list[bool] = [True]

    def of(self, tokens: list[str]) -> str:
        for index, token in enumerate(tokens):
            following = [t for t in tokens[index + 1 : index + 3] if t != " "]
            if token in _OPEN:
                self._lines[-1] += token
                self._nested.append(bool(following) and following[0] in _OPENING)
            elif token in _CLOSE:
                self._close(token)
            elif token in _CLAUSES and self._nested[-1]:
                self._begin_line(0)
                self._lines[-1] += token
            elif token == "," and self._nested[-1]:
                self._lines[-1] += token
                if self._lines[-1].strip() == "),":  # the end of one of WITH's tables
                    self._begin_line(0)
                elif len(self._lines[-1]) + _length_of_item(tokens, index + 1) > _WIDTH:
                    self._begin_line(1)
            elif token in _JOINTS and len(self._lines[-1]) > _WIDTH:
                self._begin_line(2)
                self._lines[-1] += token
            else:
                self._lines[-1] += "" if token == " " and not self._lines[-1].strip() else token
        return "\n".join(line.rstrip() for line in self._lines if line.strip())

    def _close(self, token: str) -> None:
        if self._nested.pop() and self._nested:
            self._begin_line(0)
        self._nested = self._nested or [True]
        self._lines[-1] += token

    def _begin_line(self, deeper: int) -> None:
        if self._lines[-1].strip():
            self._lines.append("")
        self._lines[-1] = "  " * (sum(self._nested) - 1 + deeper)


def _length_of_item(tokens: list[str], start: int) -> int:
    """How long it is to the next comma or clause outside parentheses."""
    depth = length = 0
    for token in tokens[start:]:
        depth += (token in _OPEN) - (token in _CLOSE)
        if depth < 0 or (depth == 0 and (token == "," or token in _CLAUSES)):
            break
        length += len(token)
    return length
