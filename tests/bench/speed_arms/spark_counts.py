"""Spark Structured Streaming as its documentation shows it: Kafka source, `from_json`, one aggregation in update mode.

One `groupBy` serves both counts. What a batch has changed goes through `foreachBatch` to the answer, and state into a
checkpoint on the local disk. A batch follows the other at once, which is the default.
"""

from __future__ import annotations

from counted import HOUR_MS, MINUTE_MS, Answer, read_told
from pyspark.sql import DataFrame
from pyspark.sql import functions as f
from spark_topic import read_topic, start_session

_FIELDS = "event_type STRING, event_time BIGINT, country STRING, page STRING, amount DECIMAL(12,2)"


def main() -> None:
    told = read_told()
    session = start_session(told)
    answer = Answer(told)

    def put(batch: DataFrame, number: int) -> None:
        rows = batch.collect()
        answer.put((f"{r.kind}|{r.name}|{r.moment}", r.events, int((r.amount or 0) * 100)) for r in rows)

    events = read_topic(session, told).select(f.from_json(f.col("value").cast("string"), _FIELDS).alias("e"))
    kind, time = f.col("e.event_type"), f.col("e.event_time")
    order = kind == "order"
    step = f.when(order, HOUR_MS).otherwise(MINUTE_MS)
    counted = (
        events.where(kind.isin("order", "page_view"))
        .select(
            kind.alias("kind"),
            f.when(order, f.col("e.country")).otherwise(f.col("e.page")).alias("name"),
            (time - time % step).alias("moment"),
            f.when(order, f.col("e.amount")).alias("amount"),
        )
        .groupBy("kind", "name", "moment")
        .agg(f.count("*").alias("events"), f.sum("amount").alias("amount"))
    )
    writer = counted.writeStream.outputMode("update").foreachBatch(put)
    writer.option("checkpointLocation", f"{told.folder}/checkpoint").start().awaitTermination()


if __name__ == "__main__":
    main()
