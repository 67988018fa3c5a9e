"""Spark and Beam give the states of the kernel, whatever they put together, in whatever order, as often as asked."""

from __future__ import annotations

import logging
import random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.carry import carry, collect
from jobs.session import start_session
from lake.kernel import Kernel
from lake.raw_schema import RAW_SCHEMA
from tests.laws.algebra import BY, shuffled
from tests.laws.beam_carrier import Arrangement, forget, side_by_side, stored
from tests.laws.beam_carrier import carry as carry_by_beam
from tests.laws.examples import EXAMPLES, SEED, VIEW, laws_domain

# The tasks that the parts of an example are read in: all in one; each in its own; and with another order and bracket.
TASKS = [[0, 0, 0], [1, 2, 3], [2, 2, 1], [3, 1, 1], [0, 0, 0]]
ARRANGEMENTS = [Arrangement(12, 60), Arrangement(5, 4), Arrangement(1, 30), Arrangement(2, 1)]


@pytest.fixture(scope="module")
def spark(settings):
    logging.getLogger("py4j").setLevel(logging.WARNING)
    return start_session(settings, "tests")


@pytest.fixture(scope="session")
def tasks(examples, tmp_path_factory):
    """A folder with the records of all examples, for each row of TASKS once, with columns `example` and `task`.

    The examples of the n-th row have their number and n times EXAMPLES.
    """
    folder, chance = tmp_path_factory.mktemp("tasks"), random.Random(SEED)
    for number, of_part in enumerate(TASKS):
        records = shuffled(examples.records, chance)
        task = pc.take(pa.array(of_part, pa.int64()), records["part"])
        moved = pc.add(records["example"], number * EXAMPLES)
        records = records.drop_columns(["example", "part"]).append_column("example", moved)
        pq.write_table(records.append_column("task", task), folder / f"{number}.parquet")
    return folder


def test_spark_keeps_the_laws_of_every_measure(spark, domain, kernel, tasks, whole) -> None:
    frame = spark.read.parquet(f"file://{tasks}").repartition(4, "task")
    parcels = collect(carry(frame, domain, BY, held_bytes=100_000), VIEW)
    states = kernel.merge(VIEW, parcels, BY)
    assert len(states) == sum(map(len, parcels)), "a key came out in two parcels"
    for number in range(len(TASKS)):
        own = states.filter(pc.equal(pc.divide(states["example"], EXAMPLES), number))
        own = own.set_column(0, "example", pc.subtract(own["example"], number * EXAMPLES))
        _assert_equal(own, whole)


def test_beam_keeps_the_laws_of_every_measure(settings, number, examples, tmp_path) -> None:
    domain, log = laws_domain(name=f"laws_{number}", by_example=True), side_by_side(examples.records)
    pq.write_table(log, tmp_path / "log.parquet")
    kernel, partitions = Kernel(domain), len(pc.unique(log["partition"]))
    whole = kernel.run(log.select(RAW_SCHEMA.names), names=[VIEW])[VIEW]
    assert len(pc.unique(whole["example"])) == sum(map(bool, examples.events))
    carry_by_beam(settings, domain, tmp_path / "log.parquet", partitions, ARRANGEMENTS)
    for arrangement in ARRANGEMENTS:
        segments = shuffled(pa.concat_tables(stored(settings, domain, VIEW, arrangement)), random.Random(SEED))
        _assert_equal(kernel.merge(VIEW, [segments]), whole)
        forget(settings, domain, arrangement)


def _assert_equal(found: pa.Table, whole: pa.Table) -> None:
    for name in whole.column_names:
        if not found[name].equals(whole[name]):
            assert found.select(BY)["example"].to_pylist() == whole["example"].to_pylist()
            assert found[name].to_pylist() == whole[name].to_pylist(), f"TEST_SEED={SEED} {name}"
    assert found.equals(whole)
