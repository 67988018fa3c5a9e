"""How many different values there are, about: HyperLogLog with 4096 registers.

Invariant: one standard error is 1.04 / sqrt(4096) = 1.6 %, and no more for small sets.

A register and its rank are one integer, register << 6 | rank; a state is the ascending list of the registers that are
set, each with its highest rank. So sparse or dense is decided by content alone, and merging is a maximum. Hash: the
low 64 bits of MD5, which is the same in every version. Estimate: Ertl 2017, "New cardinality estimation algorithms for
HyperLogLog sketches", algorithm 6 (improved raw estimator); tau is left out, it matters above 2^52.
"""

from __future__ import annotations

from lake.measures.argument import comparable
from lake.measures.measure import Compiled, Measure, Options

_BITS = 12
_REGISTERS = 1 << _BITS
_REST_BITS = 64 - _BITS

_MACROS = f"""
CREATE MACRO hll_rest(h) AS ((h & {2**_REST_BITS - 1}) | {2**_REST_BITS})::BIGINT;
CREATE MACRO hll_code(x) AS
    (((md5_number_lower(x) >> {_REST_BITS})::INTEGER << 6)
     | (1 + bit_count((hll_rest(md5_number_lower(x)) & -hll_rest(md5_number_lower(x))) - 1)))::INTEGER;
CREATE MACRO hll_highest(codes) AS
    list_transform(
        list_filter(
            list_zip(codes, codes[2:]),
            lambda _pair: _pair[2] IS NULL OR (_pair[1]::INTEGER >> 6) <> (_pair[2]::INTEGER >> 6)),
        lambda _pair: _pair[1])::INTEGER[];
CREATE MACRO hll_reduce(codes) AS coalesce(hll_highest(list_sort(codes)), []::INTEGER[]);
CREATE MACRO hll_sigma(x) AS
    x + list_sum(list_transform(range(1, 21), lambda _k: pow(x, pow(2, _k)) * pow(2, _k - 1)));
CREATE MACRO hll_estimate(codes) AS
    CASE WHEN len(codes) = 0 THEN 0 ELSE CAST(round(
        {_REGISTERS}::DOUBLE * {_REGISTERS} / (2 * ln(2))
        / ({_REGISTERS} * hll_sigma(({_REGISTERS} - len(codes)) / {_REGISTERS}.0::DOUBLE)
           + list_sum(list_transform(codes, lambda _code: pow(2.0, -(_code & 63)))))
    ) AS BIGINT) END;
"""


def _compile(duckdb_type: str, options: Options) -> Compiled:
    x = comparable("distinct", duckdb_type)
    return Compiled(
        f"hll_reduce(list(DISTINCT hll_code(CAST({x} AS VARCHAR))) FILTER (WHERE ({x}) IS NOT NULL))",
        "hll_reduce(flatten(list({s})))",
        {"": "hll_estimate({s})"},
    )


MEASURE = Measure(
    summary="number of different values, by HyperLogLog: 1.6 % standard error", compile=_compile, macros=_MACROS
)
