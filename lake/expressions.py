"""What an expression in a view may say: DuckDB scalars over declared fields that give the same answer for ever.

Invariant: nothing that passes `check` depends on the clock, on chance, on a session, on other rows or on the world.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from itertools import takewhile

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
_NOW = """
now today current_date current_time current_timestamp current_localtime current_localtimestamp localtime localtimestamp
get_current_timestamp get_current_time transaction_timestamp clock_timestamp statement_timestamp sysdate getdate
"""
_CHANCE = "random rand setseed uuid gen_random_uuid uuidv4 uuidv7 newid nextval currval"
# Whoever asks for these means no other function of a similar name.
_INSTEAD = {
    **dict.fromkeys(_NOW.split(), "each run would give another answer: use a time of the event, or append_time"),
    **dict.fromkeys(_CHANCE.split(), "each run would give another answer: take a digest of a field, as in md5(x)"),
    "hash": "DuckDB may change it between versions: use md5 or sha256",
}
# In names of three letters another letter makes another word: `now` is not `pow`.
_CLOSE = 0.7
_CLASSES = "FUNCTION COLUMN_REF CONSTANT COMPARISON CONJUNCTION CASE CAST OPERATOR BETWEEN TYPE"


class UnknownColumn(ValueError):
    """An expression names a column that is none; `name` is that."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(said)
        self.name = name


class UnknownFunction(UnknownColumn):
    """An expression calls a function that is not in the list; `name` is that."""


def closest(name: str, known: Collection[str]) -> str | None:
    """The one that was probably meant: it differs in little (upper case not counted), in the order of its letters, or
    at its end."""
    found, lower = name.lower(), {each.lower(): each for each in known}
    close = difflib.get_close_matches(found, lower, n=1, cutoff=_CLOSE)
    close += [each for each in lower if sorted(each) == sorted(found) or _begin_alike(each, found)]
    return lower[close[0]] if close else None


def _begin_alike(one: str, other: str) -> bool:
    """As `city` and `cities` do: more than two thirds of the shorter, whose end lacks two letters at most."""
    shorter, difference = min(len(one), len(other)), abs(len(one) - len(other))
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return difference <= 2 and 3 * alike > 2 * shorter


def nearest(name: str, known: Collection[str]) -> str:
    """The end of an error sentence: what was probably meant, or all that is known."""
    if close := closest(name, known):
        return f"did you mean '{close}'?"
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
            fix = _INSTEAD.get(name.lower()) or nearest(name, columns)
            raise UnknownColumn(name, f"'{expression}' names '{name}', which is no {kind}; {fix}{quoted}")
        if node_class == "FUNCTION" and (name := node["function_name"]) not in ALLOWED_FUNCTIONS:
            close = closest(name, ALLOWED_FUNCTIONS)
            fix = f"did you mean '{close}'?" if close else "docs/views.md has the list"
            raise UnknownFunction(
                name,
                f"'{expression}' calls '{name}', which is not in the list of deterministic functions; "
                f"{_INSTEAD.get(name, fix)}",
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
