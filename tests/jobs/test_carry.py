"""The kernel through Spark is the kernel: whatever the batches, the tasks and the order."""

from __future__ import annotations

import json
import os
import random

import pyarrow as pa
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from jobs.carry import carry, collect
from jobs.columns import spark_schema
from lake.kernel import Kernel
from lake.parse import MARKER_HEADER
from lake.raw_schema import RAW_SCHEMA
from tests.jobs.conftest import NINE
from tests.jobs.landed import BAD, event

EXAMPLES = 80
# A run prints its seed; TEST_SEED repeats it.
SEED = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(2**32))

_TEXT = st.text(max_size=3) | st.sampled_from(["DE", "", "\0", "É", "E\u0301"])
_EVENTS = st.fixed_dictionaries(
    {
        "event_id": _TEXT,
        "event_type": st.sampled_from(["page_view", "order", "order ", "login"]),
        "event_time": st.integers(1_700_000_000_000, 1_700_000_200_000) | st.integers(-5, 2**63),
        "user_id": _TEXT,
        "country": _TEXT,
    },
    optional={
        "page": st.none() | _TEXT,
        "amount": st.decimals(0, 10**10, places=2).map(str) | st.integers(-1, 10**12) | st.floats(),
        "quantity": st.integers(-1, 10_001) | st.text(max_size=2),
    },
).map(lambda fields: json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass"))
_USUAL = st.integers(0, 2**32).map(lambda number: event(random.Random(number), NINE))
_VALUES = _EVENTS | _USUAL | st.sampled_from(BAD) | st.binary(max_size=8)
_MARKERS = [{"key": MARKER_HEADER, "value": b"{}"}]
_HEADERS = st.sampled_from([[], [], _MARKERS, [{"key": "other", "value": None}]])
_BATCHES = st.lists(st.tuples(st.integers(0, 2), _VALUES, _HEADERS), max_size=40)


def _examples() -> list[pa.Table]:
    """Drawn first and carried together, since a Spark job for each would take hours."""
    drawn = []

    @seed(SEED)
    @settings(max_examples=EXAMPLES, phases=[Phase.generate], database=None, deadline=None)
    @given(_BATCHES)
    def draw(batch):
        drawn.append(batch)

    draw()
    return [
        pa.Table.from_pylist(
            [
                {"partition": p, "offset": i, "append_time": NINE, "key": None, "value": value, "headers": headers}
                for i, (p, value, headers) in enumerate(batch)
            ],
            schema=RAW_SCHEMA,
        )
        for batch in drawn
    ]


@pytest.mark.parametrize(("held_bytes", "batch_rows"), [(64 << 20, 10_000), (1, 13)])
def test_the_kernel_through_spark_gives_the_states_of_the_kernel_in_one_call(sandbox, spark, held_bytes, batch_rows):
    print(f"TEST_SEED={SEED}")
    examples = _examples()
    records = pa.concat_tables(
        batch.append_column("example", pa.array([i] * len(batch), pa.int64())) for i, batch in enumerate(examples)
    )
    kernel, by = Kernel(sandbox.domain), ("example",)
    limit = "spark.sql.execution.arrow.maxRecordsPerBatch"
    usual = spark.conf.get(limit)
    spark.conf.set(limit, batch_rows)
    try:
        frame = spark.createDataFrame(records.to_pylist(), spark_schema(records.schema)).repartition(5)
        parcels = carry(frame, sandbox.domain, by, held_bytes).persist()
        carried = {name: collect(parcels, name) for name in kernel.names}
        parcels.unpersist()
    finally:
        spark.conf.set(limit, usual)
    assert len(records) > EXAMPLES
    for name in kernel.names:
        merged = kernel.merge(name, carried[name], by)
        assert len(merged) == sum(map(len, carried[name])), f"{name}: a key came out in two parcels"
        for i, batch in enumerate(examples):
            found = merged.filter(pa.compute.equal(merged["example"], i)).drop_columns(["example"])
            assert found.equals(kernel.run(batch)[name]), f"TEST_SEED={SEED} example {i} {name}: {batch.to_pylist()}"
