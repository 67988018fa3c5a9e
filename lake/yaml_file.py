"""YAML as a person means it: the data of a file, and the line on which each part of it stands.

Invariant: no key is silently lost and no word silently changes its type. Booleans are `true` and `false` alone, so that
`on`, `no` and `NO` are words (YAML 1.2); a date, and a time such as 12:30, is text; a key that is there twice is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

Path = tuple[str | int, ...]
_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
_MERGE = "tag:yaml.org,2002:merge"
_HINTS = {
    r"stream end|end of stream": "a quote or a bracket is not closed",
    r"cannot start any token": "a value that begins with @, ` or % goes into quotes",
    r"mapping values are not allowed": "text that holds ': ' goes into quotes, and keys of one level into one column",
    r"expected alphabetic or numeric character|undefined alias": "a value that begins with * or & goes into quotes",
    r"expected <block end>": "a value that begins with a quote and goes on behind it goes into quotes as a whole; "
    "keys of one level stand in one column",
    r"expected ',' or": "a comma or a closing bracket is missing",
    r"could not find expected ':'": "a key needs ': ' behind it",
    r"chomping or indentation|comment or a line break": "a value that begins with > or | goes into quotes",
    r"another document": "a file holds one domain, and '---' begins a second document",
}


class BadYaml(ValueError):
    """The text is no YAML, or says one thing twice; `line` counts from 1."""

    def __init__(self, line: int, said: str) -> None:
        super().__init__(said)
        self.line = line


@dataclass(frozen=True)
class YamlFile:
    """`lines` has the line of each key and list item by its path, such as ("fields", "amount", "type")."""

    data: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Where a part stands; what is not in the file stands where the part does that should hold it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}


for _tag, _pattern, _first in (
    (_NULL, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+", list("-+0123456789")),
    (_MERGE, r"<<", ["<"]),
    (_FLOAT, r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(_INT, lambda loader, node: int(node.value))
_Loader.add_constructor(_FLOAT, lambda loader, node: float(node.value))


def read_yaml(text: str) -> YamlFile:
    """Raises BadYaml with the line, what is wrong there and the fix."""
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())] and line.strip():
            raise BadYaml(number, "not YAML: a tab is no indentation; indent with spaces")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        if node is not None:
            _note_lines(node, (), lines)
            _check_commas(node, ())
        return YamlFile(None if node is None else loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYaml(mark.line + 1 if mark else 1, _sentence(error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise BadYaml(1, f"not YAML: {str(error).splitlines()[0]}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _note_lines(node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value if isinstance(key, yaml.ScalarNode) else str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                place = ".".join(str(part) for part in here)
                raise BadYaml(line, f"{place}: is there twice, first in line {lines[here]}; remove or rename one")
            lines[here] = line
            _note_lines(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _note_lines(item, (*path, index), lines)


def _check_commas(node: yaml.Node, path: Path) -> None:
    """Raise BadYaml where a comma within braces has cut a value in two, as in {sum: coalesce(amount, 0)}: what comes
    after it is a key without a colon then."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check_commas(item, (*path, index))
    if not isinstance(node, yaml.MappingNode):
        return
    for (key, value), (rest, nothing) in pairwise(node.value):
        is_plain = isinstance(value, yaml.ScalarNode) and value.style is None
        if node.flow_style and is_plain and rest.end_mark.index == nothing.start_mark.index:
            place = ".".join(map(str, (*path, key.value)))
            whole = f"{value.value}, {rest.value}"
            quote = '"' if "'" in whole else "'"
            raise BadYaml(
                value.start_mark.line + 1,
                f"{place}: a comma ends a value within braces, so '{rest.value}' is no part of it; put the whole value "
                f"into quotes, as in {key.value}: {quote}{whole}{quote}",
            )
    for key, value in node.value:
        _check_commas(value, (*path, key.value if isinstance(key, yaml.ScalarNode) else str(key.value)))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    said = str(error.problem or error.context)
    hint = next((hint for pattern, hint in _HINTS.items() if re.search(pattern, said)), "")
    return f"not YAML: {said}" + (f"; {hint}" if hint else "")
