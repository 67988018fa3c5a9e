"""The session that both of Spark's scripts start, and the topic as they read it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from counted import Told
from pyspark.sql import DataFrame, SparkSession


def start_session(told: Told, settings: Mapping[str, str] | None = None) -> SparkSession:
    """On two threads, with as many partitions of a shuffle as its documentation advises for two cores."""
    builder = (
        SparkSession.builder.master("local[2]")
        .appName("bench")
        .config("spark.jars", ",".join(str(jar) for jar in sorted(Path(told.jars).glob("*.jar"))))
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.pyspark.python", sys.executable)
        .config("spark.sql.warehouse.dir", f"{told.folder}/warehouse")
    )
    for name, value in (settings or {}).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def read_topic(session: SparkSession, told: Told) -> DataFrame:
    """From its beginning, without a bound on a batch: what bounds memory also costs more batches."""
    return (
        session.readStream.format("kafka")
        .option("kafka.bootstrap.servers", told.bootstrap)
        .option("subscribe", told.topic)
        .option("startingOffsets", "earliest")
        .load()
    )
