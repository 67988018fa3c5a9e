"""Arrow's column types as Spark's, one for one.

Invariant: a state crosses Arrow -> Spark -> Delta -> Arrow with its type and its value unchanged;
a type that could not is refused.
"""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import types as spark

from lake.errors import BadDomain

_TYPES: dict[pa.DataType, spark.DataType] = {
    pa.bool_(): spark.BooleanType(),
    pa.int8(): spark.ByteType(),
    pa.int16(): spark.ShortType(),
    pa.int32(): spark.IntegerType(),
    pa.int64(): spark.LongType(),
    pa.float32(): spark.FloatType(),
    pa.float64(): spark.DoubleType(),
    pa.string(): spark.StringType(),
    pa.binary(): spark.BinaryType(),
    pa.date32(): spark.DateType(),
    pa.timestamp("us", tz="UTC"): spark.TimestampType(),
}


def spark_type(arrow: pa.DataType) -> spark.DataType:
    """Spark's type of the same values. Raises BadDomain for a type without an exact counterpart."""
    if arrow in _TYPES:
        return _TYPES[arrow]
    if pa.types.is_decimal128(arrow):
        return spark.DecimalType(arrow.precision, arrow.scale)
    if pa.types.is_list(arrow):
        return spark.ArrayType(spark_type(arrow.value_type))
    if pa.types.is_struct(arrow):
        return spark_schema(pa.schema(list(arrow)))
    known = ", ".join(str(each) for each in _TYPES)
    raise BadDomain(
        f"a column of type {arrow} cannot be kept in a mart; "
        f"allowed: {known}, decimal128, list and struct of these; cast it in the view"
    )


def spark_schema(arrow: pa.Schema) -> spark.StructType:
    """The same columns, all nullable, as Delta keeps them."""
    return spark.StructType([spark.StructField(field.name, spark_type(field.type)) for field in arrow])
