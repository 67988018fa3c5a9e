"""Spark Structured Streaming into a Delta table as Delta's documentation shows it, a batch a second.

The table and the checkpoint are on the local disk: no object store is paid for.
"""

from __future__ import annotations

from counted import read_told
from spark_topic import read_topic, start_session

_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Its default of 50 is for clusters: here each commit would pay for 50 tasks.
    "spark.databricks.delta.snapshotPartitions": "2",
}


def main() -> None:
    told = read_told()
    records = read_topic(start_session(told, _DELTA), told).select("partition", "offset", "timestamp", "key", "value")
    writer = records.writeStream.format("delta").outputMode("append").trigger(processingTime="1 second")
    writer.option("checkpointLocation", f"{told.folder}/checkpoint").start(f"{told.folder}/table").awaitTermination()


if __name__ == "__main__":
    main()
