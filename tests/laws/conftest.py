"""The examples are drawn once, and every carrier has the same."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lake.domain import Domain
from lake.kernel import Kernel
from tests.laws.algebra import BY
from tests.laws.examples import ROUNDS, SEED, VIEW, Examples, draw, laws_domain


@pytest.fixture(scope="session", params=range(ROUNDS), ids=lambda number: f"round{number}")
def number(request: pytest.FixtureRequest) -> int:
    """The round: other examples each, in a domain of its own."""
    return request.param


@pytest.fixture(scope="session")
def domain(number: int) -> Domain:
    return laws_domain(name=f"laws_{number}")


@pytest.fixture(scope="session")
def kernel(domain: Domain) -> Kernel:
    return Kernel(domain)


@pytest.fixture(scope="session")
def examples(number: int) -> Examples:
    return draw(SEED + number)


@pytest.fixture(autouse=True)
def say_seed() -> None:
    print(f"TEST_SEED={SEED}")


@pytest.fixture(scope="session")
def whole(kernel: Kernel, examples: Examples) -> pa.Table:
    """The states of every example, by the kernel in one call."""
    return kernel.run(examples.records, BY, [VIEW])[VIEW]
