"""Where everything is and how long a segment lasts: read once, in `main`, then passed on, frozen.

The environment (`TIDEMARK_*`) wins over `$TIDEMARK_HOME/settings.env`. Secrets never show in a repr.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lake.certificates import bundle
from lake.errors import BadSettings


def _divides_an_hour(seconds: int) -> int:
    if seconds <= 0 or 3600 % seconds:
        raise ValueError("a segment must divide an hour: 10, 15, 30, 60, 300 ... seconds")
    return seconds


class Settings(BaseSettings):
    """One frozen value object; every field is the environment variable TIDEMARK_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="TIDEMARK_", frozen=True, extra="ignore")

    home: Path = Path(".tidemark")
    domains_dir: Path = Path(__file__).parent / "domains"
    domains: str = ""
    """Which of the declared domains run, their names with commas between; all of them if it is empty."""
    segment_seconds: Annotated[int, AfterValidator(_divides_an_hour)] = 60

    kafka_bootstrap: str = "127.0.0.1:19092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_certificate: Path | None = None
    """A client's certificate, PEM, where the brokers ask for one; its key is `kafka_key`."""
    kafka_key: Path | None = None
    kafka_retention_hours: int = Field(168, ge=1)
    """How long a new topic keeps what raw has already, for whoever has to catch up."""
    replication_factor: int = Field(1, ge=1)

    ca_file: Path | None = None
    """Certificates, PEM, that vouch for Kafka, the lake and the store, not the system's; or a folder of *.crt."""

    s3_endpoint: str = "http://127.0.0.1:19000"
    s3_access_key: str = "tidemark"
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_path_style: bool = True
    bucket: str = "tidemark"

    store_url: SecretStr = SecretStr("redis://127.0.0.1:16379/0")

    land_interval_seconds: float = Field(1.0, gt=0)
    seal_timeout_seconds: float = Field(120.0, gt=0)
    verify_timeout_seconds: float = Field(60.0, gt=0)
    redefine_timeout_seconds: float = Field(600.0, gt=0)
    generation_grace_seconds: float = Field(60.0, gt=0)

    metrics_port: int | None = Field(None, ge=0, le=65535)
    """Where a process serves its metrics to Prometheus; 0 is any free port, none serves none."""
    metrics_host: str = "127.0.0.1"
    canary_interval_seconds: float = Field(5.0, gt=0)
    """How often the canary appends a marker to each of its domains."""

    runner: Literal["prism", "flink"] = "prism"
    """What runs the speed layer's pipeline."""
    prism_binary: Path | None = None
    flink_jars_dir: Path | None = None
    flink_master: str = "[local]"
    """A Flink within the job server's process, or the host:port of a cluster's REST."""
    flink_memory: str = "512m"
    """Of the job server's JVM, and of the Flink in it."""
    spark_jars_dir: Path | None = None
    spark_master: str = "local[2]"
    spark_driver_memory: str = "1g"
    broadcast_rows: int = Field(1_000_000, ge=0)
    """A dimension with more rows is joined by a shuffle instead of being read whole by every task."""
    tile_events: int = Field(20_000_000, ge=1)
    """A slice with more offsets is built as several tiles, divided between segments; each commits alone."""
    vacuum_hours: int = Field(168, ge=1)
    """How long files that no version needs any more are kept: longer than any reader or writer may pause and go on."""

    dashboard_url: str = ""
    """Where people open the dashboard; Airflow's tasks link to it."""
    alert_webhook: SecretStr = SecretStr("")
    """A URL to which a failed task posts a small JSON document; most such URLs are secrets themselves."""
    dimension_sources: str = ""
    """What `load_dimensions` loads every day: NAME=SOURCE or NAME=SOURCE#TABLE, spaces between. No passwords."""

    submit: Literal["process", "kubernetes"] = "process"
    """Where Airflow runs a program: in a process of its worker, or in a pod of its own."""
    kubernetes_image: str = ""
    """The image of those pods and of Spark's executors, with this package and Spark's jars in it."""
    kubernetes_namespace: str = "tidemark"
    kubernetes_service_account: str = "tidemark-jobs"
    kubernetes_config_map: str = "tidemark"
    """Its entries are the pods' environment: settings that are no secrets."""
    kubernetes_secret: str = "tidemark"
    """As well, with the secrets: TIDEMARK_S3_ACCESS_KEY, TIDEMARK_S3_SECRET_KEY, TIDEMARK_STORE_URL."""
    kubernetes_jars_dir: str = "/opt/tidemark/jars"
    kubernetes_pod_template: Path | None = None
    """A file with the pod that those pods begin as: their security, volumes and nodes."""
    kubernetes_cpu: str = "1"
    kubernetes_memory: str = "2Gi"
    """Of a program's pod, which with Spark is the driver."""
    spark_executors: int = Field(2, ge=1)
    spark_executor_cores: int = Field(1, ge=1)
    """Tasks at a time, each."""
    spark_executor_cpu: str = "1"
    """Asked of the node for each, as Kubernetes writes it; where there is more, an executor may use it."""
    spark_executor_memory: str = "1g"
    spark_executor_overhead: str = "2g"
    """Of each executor, outside of its JVM: that is where the kernel runs."""
    spark_executor_template: str = ""
    """A file with the pod that executors begin as; its path in the driver's pod."""

    @model_validator(mode="after")
    def _whole_identity(self) -> Settings:
        if self.kafka_security_protocol.startswith("SASL") and not (
            self.kafka_username and self.kafka_password.get_secret_value()
        ):
            raise ValueError(
                f"kafka_security_protocol is {self.kafka_security_protocol}: give kafka_username and kafka_password"
            )
        if (self.kafka_certificate is None) != (self.kafka_key is None):
            raise ValueError("kafka_certificate and kafka_key belong together: give both or none")
        return self

    def runs(self, domain: str) -> bool:
        """Whether a declared domain is among `domains`."""
        return not self.domains or domain in self.domains.split(",")

    def ca_bundle(self) -> str | None:
        """The one file in which this process finds `ca_file`'s certificates. Raises BadSettings if there are none."""
        return str(bundle(self.ca_file)) if self.ca_file else None

    def table_uri(self, *parts: str) -> str:
        """The address of a Delta table, s3://bucket/a/b."""
        return "/".join([f"s3://{self.bucket}", *parts])

    def storage_options(self) -> dict[str, str]:
        """What delta-rs needs to reach the lake; commits go by conditional put (`If-None-Match`)."""
        return {
            "aws_endpoint": self.s3_endpoint,
            "aws_access_key_id": self.s3_access_key,
            "aws_secret_access_key": self.s3_secret_key.get_secret_value(),
            "aws_region": self.s3_region,
            "aws_virtual_hosted_style_request": str(not self.s3_path_style).lower(),
            "aws_allow_http": str(self.s3_endpoint.startswith("http://")).lower(),
            "aws_conditional_put": "etag",
        }


def load_settings() -> Settings:
    """Read the settings. Raises BadSettings with the variable, the value and what is allowed."""
    home = Path(os.environ.get("TIDEMARK_HOME", ".tidemark")).absolute()
    try:
        settings = Settings(home=home, _env_file=home / "settings.env")  # type: ignore[call-arg]
    except ValidationError as error:
        problems = [_problem(each["loc"], each["input"], each["msg"]) for each in error.errors()]
        raise BadSettings("; ".join(problems) + f" (set in the environment or in {home}/settings.env)") from None
    trust(settings)
    return settings


def trust(settings: Settings) -> None:
    """Have this process's clients believe `ca_file`: those of the lake and the store look where OpenSSL's do."""
    if believed := settings.ca_bundle():
        os.environ["SSL_CERT_FILE"] = believed


def _problem(field: tuple[int | str, ...], value: object, said: str) -> str:
    """A field's with its value; of several fields together, without, since one of them may be a secret."""
    return f"TIDEMARK_{str(field[0]).upper()}={value!r}: {said}" if field else said.removeprefix("Value error, ")
