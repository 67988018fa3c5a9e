"""The errors that docs/measures.md states hold; `python -m tests.bench.measure_error` measures up to ten million."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lake.measures import MEASURES
from lake.measures.quantiles import RELATIVE_ERROR
from tests.bench.measure_error import DISTRIBUTIONS, measure

STANDARD_ERROR = 1.04 / math.sqrt(4096)
# A bound on a mean over draws must not depend on luck.
SEED = 1
RUNS = {10: 200, 1_000: 200, 20_000: 60, 100_000: 15}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_distinct_and_quantiles_are_within_their_stated_errors(distribution: str) -> None:
    errors = [measure(distribution, size, runs, SEED) for size, runs in RUNS.items()]
    for error in errors:
        print(error)
        assert error.quantiles_worst <= RELATIVE_ERROR
        if error.size > 10:  # of ten values, two that share a register are a tenth
            assert error.distinct_worst <= 4 * STANDARD_ERROR
    many = [error for error in errors if error.size > 1000]
    rms = math.sqrt(np.average([error.distinct_rms**2 for error in many], weights=[error.runs for error in many]))
    assert rms <= 1.1 * STANDARD_ERROR


def test_the_stated_errors_are_no_larger_than_they_have_to_be() -> None:
    """So that the bounds above would notice half as many registers, or one bit of a bucket less."""
    error = measure("lognormal", 20_000, 60, SEED)
    assert error.distinct_rms > STANDARD_ERROR / math.sqrt(2)
    assert error.quantiles_worst > RELATIVE_ERROR / 2
    assert "1.6 %" in MEASURES["distinct"].summary
    assert "0.8 %" in MEASURES["quantiles"].summary
