"""What an expression in a view may say: DuckDB scalars over declared fields that give the same answer for ever.

Invariant: nothing that passes `check` depends on the clock, on chance, on a session, on other rows or on the world.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator
from functools import cache

import duckdb

# Deterministic by definition and promised to stay so. `hash` is not: DuckDB may change it between versions.
_FUNCTIONS = """
+ - * / // % || ~~ !~~ ~~* !~~* abs ceil ceiling floor round sign greatest least mod trunc to_days to_hours
to_minutes to_seconds to_months to_years to_weeks to_milliseconds to_microseconds date_trunc date_part
datepart extract date_diff datediff time_bucket epoch epoch_ms make_date year month day hour minute second
dayofweek isodow dayofyear week quarter strftime coalesce nullif ifnull if lower upper trim ltrim rtrim length
strlen substring substr left right concat concat_ws replace reverse split_part starts_with ends_with suffix
prefix contains instr position regexp_matches regexp_full_match regexp_extract regexp_replace lpad rpad
like_escape not_like_escape md5 sha256 pow power sqrt ln log10 exp
list_value len array_length list_contains list_distinct list_sort list_slice list_concat array_extract list_extract
array_slice string_split str_split split regexp_split_to_array string_split_regex regexp_extract_all array_to_string
"""
ALLOWED_FUNCTIONS = frozenset(_FUNCTIONS.split())
_CLASSES = "FUNCTION COLUMN_REF CONSTANT COMPARISON CONJUNCTION CASE CAST OPERATOR BETWEEN TYPE"


class UnknownColumn(ValueError):
    """An expression names a column that is none; `name` is that."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(said)
        self.name = name


class UnknownFunction(UnknownColumn):
    """An expression calls a function that is not in the list; `name` is that."""


def nearest(name: str, known: Collection[str]) -> str:
    """The end of an error sentence: what was probably meant, or all that is known."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(sorted(known))}" if known else "there is none"


def columns_of(expression: str) -> set[str]:
    """The columns that an expression names, a dimension's as `users.country`."""
    tree = _parsed(expression)
    return {".".join(node["column_names"]) for node in _nodes(tree) if node["class"] == "COLUMN_REF"}


def check(expression: str, columns: Collection[str], kind: str = "field") -> None:
    """Raise ValueError, in one sentence, unless `expression` is one allowed scalar over `columns` of a kind."""
    if not expression.strip():
        raise ValueError("expected a SQL expression, found nothing")
    tree = _parsed(expression)
    if tree["error"]:
        words = set(re.findall(r"(?<![\w\"])\w+(?![\w\"])", expression)) & set(columns) & _keywords()
        quotes = "".join(f"; '{word}' is a word of SQL: write \"{word}\" for the {kind}" for word in sorted(words))
        raise ValueError(f"'{expression}' is not a SQL expression: {tree['error_message']}{quotes}")
    [select] = [statement["node"] for statement in tree["statements"]]
    if len(select.get("select_list", [])) != 1 or _around(select) != _around(_select("1")):
        raise ValueError(f"'{expression}' is more than one expression; expected one")
    for node in _nodes(select):
        node_class = node["class"]
        if node_class not in _CLASSES.split():
            raise ValueError(
                f"'{expression}' uses {node_class.lower()}, but an expression here is one scalar over one row's {kind}s"
            )
        if node_class == "COLUMN_REF" and (name := ".".join(node["column_names"])) not in columns:
            quoted = f"; text is written '{name}', in single quotes" if f'"{name}"' in expression else ""
            raise UnknownColumn(
                name, f"'{expression}' names '{name}', which is no {kind}; {nearest(name, columns)}{quoted}"
            )
        if node_class == "FUNCTION" and (name := node["function_name"]) not in ALLOWED_FUNCTIONS:
            close = difflib.get_close_matches(name, ALLOWED_FUNCTIONS, n=1)
            fix = f"did you mean '{close[0]}'?" if close else "docs/views.md has the list"
            raise UnknownFunction(
                name, f"'{expression}' calls '{name}', which is not in the list of deterministic functions; {fix}"
            )


def plainly(error: duckdb.Error) -> str:
    """What DuckDB says about the types of an expression, in one line."""
    first, *more = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines() if line.strip()]
    said = first.partition(" Error: ")[2].replace(" You might need to add explicit type casts.", "").rstrip(".")
    candidates = more[1:] if more[:1] == ["Candidate functions:"] else []
    return said + (f"; expected {' or '.join(candidates[:4])}" if candidates else "")


def _select(expression: str) -> dict:
    return _parsed(expression)["statements"][0]["node"]


def _around(select: dict) -> dict:
    """All of a SELECT but what it selects."""
    return {part: what for part, what in select.items() if part != "select_list"}


@cache
def _keywords() -> frozenset[str]:
    """The words that cannot stand for a column without quotes."""
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'")
        return frozenset(name for (name,) in rows.fetchall())


@cache
def _parsed(expression: str) -> dict:
    """DuckDB's own syntax tree; the line end keeps a comment from hiding the bracket."""
    with duckdb.connect() as connection:
        row = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchone()
    assert row is not None
    return json.loads(row[0])


def _nodes(tree: object) -> Iterator[dict]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)
