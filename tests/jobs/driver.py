"""A Spark driver in a process of its own, told over stdin what to do: one JSON object a line, one answer a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql.functions import lit

from jobs.session import start_session
from lake.settings import load_settings


def append(spark: SparkSession, table: str, rows: list[str]) -> list[str]:
    """Append each row in a commit of its own; gives those that were acknowledged."""
    acknowledged = []
    for row in rows:
        spark.range(1).select(lit(row).alias("row")).write.format("delta").mode("append").save(table)
        acknowledged.append(row)
    return acknowledged


def write(spark: SparkSession, store: str, path: str, action: str, endpoint: str | None = None) -> bool:
    """Write one version of a log through a LogStore; gives whether it was acknowledged."""
    jvm = spark._jvm
    configuration = jvm.org.apache.hadoop.conf.Configuration(spark._jsc.hadoopConfiguration())
    if endpoint:
        configuration.set("fs.s3a.endpoint", endpoint)
        configuration.set("fs.s3a.impl.disable.cache", "true")
    log_store = getattr(jvm, store)(configuration)
    actions = jvm.java.util.List.of(action).iterator()
    try:
        log_store.write(jvm.org.apache.hadoop.fs.Path(path), actions, False, configuration)
    except Py4JJavaError as error:
        if "FileAlreadyExistsException" not in str(error.java_exception):
            raise
        return False
    return True


def main() -> None:
    spark = start_session(load_settings(), "test driver")
    commands: dict[str, Callable] = {"append": append, "write": write}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        print(json.dumps(commands[call.pop("do")](spark, **call)), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
