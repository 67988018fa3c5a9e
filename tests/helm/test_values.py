"""A value that cannot be installed is refused with a sentence; the README's table is that of the comments."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from local.tools import ROOT
from tests.helm.chart import CHART, template

sys.path.insert(0, str(ROOT / "helm"))
from write_readme import README, readme, rows


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("kafka.external.bootstrap=b:9092", "kafka.enabled is true and kafka.external.bootstrap is given"),
        ("kafka.enabled=false", "give the brokers elsewhere as kafka.external.bootstrap=host:port"),
        ("kafka.external.securityProtocol=SSL", "for this release's own brokers set tls.enabled=true instead"),
        (
            "kafka.enabled=false,kafka.external.bootstrap=b:9092,kafka.external.securityProtocol=SASL_SSL",
            "nobody gives lander its password: name a Secret",
        ),
        ("tls.existingSecret=servers", "give tls.caSecret instead"),
        ("tls.enabled=true,tls.commonName=x", "a generated certificate has the objects' name, tide-tidemark; leave"),
        ("kafka.replicas=1", "kafka.replicationFactor is 3 with 1 brokers"),
        ("kafka.replicas=4", "use an odd one"),
        ("s3.external.endpoint=https://s3", "set minio.enabled=false to use that service"),
        ("minio.enabled=false", "give the URL of an S3 service as s3.external.endpoint"),
        ("minio.enabled=false,s3.external.endpoint=https://s3", "nobody gives lander its keys: name a Secret"),
        ("minio.replicas=3", "use 1 or at least 4"),
        ("store.enabled=false", "name a Secret with TIDEMARK_STORE_URL as store.existingSecret"),
        ("postgres.enabled=false", "name a Secret with connection as postgres.existingSecret"),
        ("domains.run={shoes}", "domains.run names shoes, which has no file"),
        ("settings.segment_seconds=60,dashboard.ingress.enabled=true", "give dashboard.ingress.host"),
        ("airflow.scheduler.replicas=2", "name a shared claim as airflow.logsClaim"),
        ("airflow.executor=KubernetesExecutor", "make a claim that all nodes can write"),
        ("test.domain=stocks", "test.domain is stocks, which is not in domains.run"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_sentence(options: str, sentence: str) -> None:
    done = template("--set", options)
    assert done.returncode != 0
    assert "These values cannot be installed:" in done.stderr
    assert sentence in done.stderr


def test_all_that_is_wrong_is_told_at_once() -> None:
    done = template("--set", "kafka.replicas=2,minio.replicas=3,domains.run={shoes}")
    assert done.stderr.count("\n* ") == 4


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ("kafka.replicas=three", "/kafka/replicas"),
        ("kafka.replica=3", "'replica' not allowed"),
        ("settings.segment_seconds=7", "/settings/segment_seconds"),
        ("settings.kafka_bootstrap=x", "'kafka_bootstrap' not allowed"),
        ("images.app.tag=latest", "/images/app/tag"),
        ("images.app.digest=abc", "/images/app/digest"),
        ("jobs.spark.memory=1Gi", "/jobs/spark/memory"),
        ("kafka.external.securityProtocol=TLS", "/kafka/external/securityProtocol"),
        ("kafka.existingSecrets.landers=x", "'landers' not allowed"),
        ("kafka.external.bootstrap=broker", "/kafka/external/bootstrap"),
        ("airflow.executor=CeleryExecutor", "/airflow/executor"),
        ("airflow.env.PASSWORD=x", "'PASSWORD' does not match pattern"),
        ("security.uid=0", "/security/uid"),
        ("lander.resources.request.cpu=1", "'request' not allowed"),
    ],
)
def test_a_value_that_is_none_is_refused_by_its_place(options: str, place: str) -> None:
    done = template("--set", options)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr
    assert place in done.stderr


def test_a_domain_file_that_is_no_yaml_is_refused(tmp_path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("domain: [broken\n")
    done = template("--set", "domains.run={broken}", "--set-file", f"domains.files.broken={file}")
    assert "domains.files.broken is no YAML" in done.stderr


def test_a_domain_that_is_fed_by_one_that_does_not_run_is_refused() -> None:
    file = ROOT / "tests/helm/german.yaml"
    done = template("--set", "domains.run={german}", "--set-file", f"domains.files.german={file}")
    assert "is fed by shop, which is not in it" in done.stderr


def closed(schema: dict, place: str = "") -> list[str]:
    """Objects of a schema that let anything in."""
    found = []
    if "properties" in schema:
        found += [place] if schema.get("additionalProperties") is not False else []
        for name, inner in schema["properties"].items():
            found += closed(inner, f"{place}/{name}")
    return found


def test_nothing_that_the_schema_does_not_name_is_let_in() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert closed(schema) == []
    assert [place for name, each in schema["definitions"].items() for place in closed(each, name)] == []


def test_every_value_has_its_line_in_the_readme() -> None:
    assert README.read_text() == readme()
    names = [name for name, *_ in rows((CHART / "values.yaml").read_text())]
    assert len(names) > 80
    assert all(f"| `{name}` |" in README.read_text() for name in names)


def test_a_value_without_a_comment_is_named() -> None:
    with pytest.raises(ValueError, match=r"values\.yaml:2: kafka\.heap has no comment"):
        list(rows("kafka:\n  heap: 1g\n"))


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) | {"global"} == set(schema["properties"])
