"""The measures: each is three SQL fragments over a commutative monoid of states.

Invariant (tests/laws): NULL or the empty state is the identity, merging is associative and commutative, and a state
of a whole equals the merge of the states of any split of it, in any order, as canonical values.

`state` is an aggregate over events with {x} for the argument; `merge` is an aggregate over states {s};
`value` is a scalar of one state {s}, computed last, at read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_HLL_BITS = 12
_HLL_REGISTERS = 1 << _HLL_BITS
_REST_BITS = 64 - _HLL_BITS

# A register and its rank are one integer, register << 6 | rank; a state is the ascending list of the registers that
# are set, each with its highest rank. So sparse or dense is decided by content alone, and merging is a maximum.
# Hash: the low 64 bits of MD5, which is the same in every version. One standard
# error is 1.04 / sqrt(registers), 1.6 %. Estimate: Ertl 2017, "New cardinality estimation
# algorithms for HyperLogLog sketches", algorithm 6 (improved raw estimator); tau is left out, it matters above 2^52.
MACROS = f"""
CREATE MACRO hll_rest(h) AS ((h & {2**_REST_BITS - 1}) | {2**_REST_BITS})::BIGINT;
CREATE MACRO hll_code(x) AS
    (((md5_number_lower(x) >> {_REST_BITS})::INTEGER << 6)
     | (1 + bit_count((hll_rest(md5_number_lower(x)) & -hll_rest(md5_number_lower(x))) - 1)))::INTEGER;
CREATE MACRO hll_highest(codes) AS
    list_transform(
        list_filter(
            list_zip(codes, codes[2:]),
            lambda pair: pair[2] IS NULL OR (pair[1]::INTEGER >> 6) <> (pair[2]::INTEGER >> 6)),
        lambda pair: pair[1])::INTEGER[];
CREATE MACRO hll_reduce(codes) AS coalesce(hll_highest(list_sort(codes)), []::INTEGER[]);
CREATE MACRO hll_sigma(x) AS
    x + list_sum(list_transform(range(1, 21), lambda k: pow(x, pow(2, k)) * pow(2, k - 1)));
CREATE MACRO hll_estimate(codes) AS
    CASE WHEN len(codes) = 0 THEN 0 ELSE CAST(round(
        {_HLL_REGISTERS}::DOUBLE * {_HLL_REGISTERS} / (2 * ln(2))
        / ({_HLL_REGISTERS} * hll_sigma(({_HLL_REGISTERS} - len(codes)) / {_HLL_REGISTERS}.0::DOUBLE)
           + list_sum(list_transform(codes, lambda code: pow(2.0, -(code & 63)))))
    ) AS BIGINT) END;
"""


@dataclass(frozen=True)
class Measure:
    """The three fragments, and a check of the argument's DuckDB type (raises ValueError with the fix)."""

    state: str
    merge: str
    value: str = "{s}"
    check: Callable[[str], None] = lambda duckdb_type: None


def _exact_number(duckdb_type: str) -> None:
    if not (duckdb_type.startswith("DECIMAL") or duckdb_type.endswith("INT") or duckdb_type == "INTEGER"):
        raise ValueError(f"sum needs an integer or decimal, found {duckdb_type}: floating sums depend on their order")


MEASURES = {
    "count": Measure("count({x})", "CAST(sum({s}) AS BIGINT)"),
    "sum": Measure("sum({x})", "sum({s})", check=_exact_number),
    "min": Measure("min({x})", "min({s})"),
    "max": Measure("max({x})", "max({s})"),
    "distinct": Measure(
        "hll_reduce(list(DISTINCT hll_code(CAST({x} AS VARCHAR))) FILTER (WHERE {x} IS NOT NULL))",
        "hll_reduce(flatten(list({s})))",
        "hll_estimate({s})",
    ),
}
