"""A state keeps type and value on its way through Arrow, Spark, Delta and back by delta-rs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from jobs.carry import PARCEL, unpack
from jobs.columns import spark_schema, spark_type
from lake.errors import BadDomain
from lake.kernel import encode

_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_COLUMNS = {
    "text": (pa.string(), ["", "\U0001f600\0e\u0301"]),
    "bytes": (pa.binary(), [b"", b"\xff\0\xfe"]),
    "flag": (pa.bool_(), [True, False]),
    "small": (pa.int32(), [-(2**31), 2**31 - 1]),
    "large": (pa.int64(), [-(2**63), 2**63 - 1]),
    "real": (pa.float64(), [5e-324, -1.7976931348623157e308]),
    "total": (pa.decimal128(38, 0), [Decimal(10**38 - 1), Decimal(1 - 10**38)]),
    "money": (pa.decimal128(38, 4), [Decimal("1E-4"), Decimal("-9999999999999999999999999999999999.9999")]),
    "price": (pa.decimal128(12, 2), [Decimal("0.01"), Decimal("-9999999999.99")]),
    "at": (pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, tzinfo=UTC), _LAST]),
    "day": (pa.date32(), [date(1970, 1, 1), date(9999, 12, 31)]),
    "registers": (pa.list_(pa.field("element", pa.int32())), [[], [1, 2**31 - 1]]),
}
STATES = pa.table(
    [pa.array([*values, None], kind) for kind, values in _COLUMNS.values()],
    schema=pa.schema([(name, kind) for name, (kind, _) in _COLUMNS.items()]),
)


def test_every_type_of_a_state_comes_back_from_delta_unchanged(sandbox, spark):
    parcel = ("view", 0, STATES.num_rows, bytearray(encode(STATES)))
    rows = unpack(spark.createDataFrame([parcel], spark_schema(PARCEL)), "view", STATES.schema)
    address = f"{sandbox.settings.bucket}/types"
    rows.coalesce(1).write.format("delta").save(f"s3a://{address}")
    stored = DeltaTable(f"s3://{address}", storage_options=sandbox.settings.storage_options()).to_pyarrow_table()
    assert stored.cast(STATES.schema).equals(STATES)
    kinds = {field.name: field.type for field in stored.schema}
    assert all(kinds[name] == kind for name, (kind, _) in _COLUMNS.items() if name != "registers"), kinds


@pytest.mark.parametrize("kind", [pa.uint64(), pa.time64("us"), pa.timestamp("us"), pa.large_string()], ids=str)
def test_a_type_without_an_exact_counterpart_is_refused(kind):
    with pytest.raises(BadDomain, match="cannot be kept in a mart"):
        spark_type(kind)
