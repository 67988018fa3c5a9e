"""The one place where a Spark session is made: the lake over S3A, Delta commits by conditional put, everything in UTC.

Invariant: no secret is in a command line, a Spark property or a log. The S3 keys reach the JVM in its environment only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import SecretStr
from pyspark.sql import SparkSession

from jobs.trust_store import make_trust_store
from lake.certificates import temporary_folder
from lake.errors import BadSettings
from lake.settings import Settings, trust

SHUFFLE_PARTITIONS = 4
LOGGING = Path(__file__).parent / "log4j2.properties"
# A job lives for a minute or two: the first compiler tier starts sooner than the second repays.
JVM_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"

# An event may be 2 MiB, so rows alone bound nothing: a batch is at most so many rows and about so many bytes.
ROWS_PER_BATCH = 150_000
BYTES_PER_BATCH = 32 << 20


def start_session(settings: Settings, name: str) -> SparkSession:
    """A new session, or this process's running one. Raises BadSettings if the jars are not there."""
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers must have the driver's packages
    os.environ["AWS_ACCESS_KEY_ID"] = settings.s3_access_key
    os.environ["AWS_SECRET_ACCESS_KEY"] = settings.s3_secret_key.get_secret_value()
    builder = SparkSession.builder.appName(name).master(settings.spark_master)
    for key, value in _properties(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def without_secrets(settings: Settings) -> Settings:
    """The settings as they may travel in a task; the workers have the keys in their environment, as the JVM does."""
    return settings.model_copy(update={name: SecretStr("") for name, value in settings if isinstance(value, SecretStr)})


def with_secrets(settings: Settings) -> Settings:
    """In a worker, the settings that have travelled with the lake's key in them again."""
    trust(settings)
    return settings.model_copy(update={"s3_secret_key": SecretStr(os.environ["AWS_SECRET_ACCESS_KEY"])})


def s3a_uri(uri: str) -> str:
    """The same table as Spark names it: s3a://bucket/..."""
    return uri.replace("s3://", "s3a://", 1)


def _properties(settings: Settings) -> dict[str, str]:
    jars = settings.spark_jars_dir
    if jars is None or not any(jars.glob("delta-spark_*.jar")):
        raise BadSettings(
            f"spark_jars_dir is {jars}, expected a folder with Delta's and S3A's jars; "
            "run `make setup`, or set TIDEMARK_SPARK_JARS_DIR"
        )
    properties = {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraClassPath": f"{jars.resolve()}/*",
        "spark.driver.extraJavaOptions": _java_options(settings),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS),
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ROWS_PER_BATCH),
        "spark.sql.execution.arrow.maxBytesPerBatch": str(BYTES_PER_BATCH),
        # The default, INT96, holds nanoseconds and so ends in 2262.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    }
    if settings.spark_master.startswith("local"):
        properties |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    return properties | _delta() | _s3a(settings)


def _java_options(settings: Settings) -> str:
    """The driver's; what executors believe they make as they start (helm/images/run.sh)."""
    options = [f"-Dlog4j2.configurationFile={LOGGING}", JVM_OPTIONS]
    if believed := settings.ca_bundle():
        options += make_trust_store(Path(believed), temporary_folder() / "trust.p12")
    return " ".join(options)


def _delta() -> dict[str, str]:
    defaults = {
        "enableDeletionVectors": "false",
        "columnMapping.mode": "none",
        # No folder a tile: its name has colons, which a path in the Delta log escapes twice.
        "randomizeFilePrefixes": "true",
    }
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.delta.logStore.s3a.impl": "tidemark.ConditionalS3LogStore",
        "spark.databricks.delta.snapshotPartitions": "2",
    } | {f"spark.databricks.delta.properties.defaults.{name}": value for name, value in defaults.items()}


def _s3a(settings: Settings) -> dict[str, str]:
    options = {
        "endpoint": settings.s3_endpoint,
        "endpoint.region": settings.s3_region,
        "path.style.access": str(settings.s3_path_style).lower(),
        "connection.ssl.enabled": str(settings.s3_endpoint.startswith("https")).lower(),
        "aws.credentials.provider": "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider",
    }
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in options.items()}
