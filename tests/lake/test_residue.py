"""What of a value a Delta log's statistics say is found as they spell it, and nothing else."""

from __future__ import annotations

import json

import pytest

from lake.residue import in_statistics

LONG = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"  # 36 characters: statistics keep 32


def entry(least: object, greatest: object, column: str = "user") -> bytes:
    stats = json.dumps({"numRecords": 17, "minValues": {column: least}, "maxValues": {column: greatest}})
    return json.dumps({"add": {"path": "part-17.parquet", "stats": stats}}, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "told", "expected"),
    [
        ("u17", entry("ann", "u17"), True),
        ("u17", entry("u17", "zoe"), True),
        ("u17", entry("u171", "u18"), False),
        ("u17", entry("u17", "u17", "country"), False),
        ("17", entry(17, 20), True),
        ("17", entry(170, 171), False),
        (LONG, entry("ann", LONG[:32] + "\U0010ffff"), True),
        (LONG, entry(LONG, LONG), True),
        ('say "no"', entry('say "no"', "zoe"), True),
    ],
)
def test_a_value_is_found_in_its_column_as_the_log_spells_it(value: str, told: bytes, expected: bool) -> None:
    assert bool(in_statistics(value, ["user", "last"]).search(told)) is expected
