"""What a release tells after its installation is true of its values."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CASES, CHART, objects, of_kind, template

_AS_OBJECT = """apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {notes: {{ include "notes" . | toJson }}}
"""
_ALL_ELSEWHERE = (
    *("kafka.enabled=false", "kafka.external.bootstrap=b:9093", "kafka.external.securityProtocol=SSL"),
    *("minio.enabled=false", "s3.external.endpoint=https://s3.example.com", "s3.existingSecret=lake-keys"),
    *("store.enabled=false", "store.existingSecret=store-url"),
    *("postgres.enabled=false", "postgres.existingSecret=database", "airflow.existingSecret=airflow-keys"),
)
_WITH_USERS = (*_ALL_ELSEWHERE, "kafka.external.securityProtocol=SASL_SSL", "kafka.existingSecret=user")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its notes as an object: `helm template` renders everything but them."""
    folder = tmp_path_factory.mktemp("notes") / "tidemark"
    shutil.copytree(CHART, folder)
    text = (folder / "templates/NOTES.txt").read_text()
    (folder / "templates/_notes.tpl").write_text('{{- define "notes" -}}' + text + "{{- end -}}")
    (folder / "templates/notes.yaml").write_text(_AS_OBJECT)
    return folder


def notes(chart: Path, *options: str) -> str:
    done = template("-s", "templates/notes.yaml", *options, chart=chart)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["data"]["notes"]


def sets(*values: str) -> list[str]:
    return [option for value in values for option in ("--set", value)]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((), ["Without TLS: Kafka, MinIO, the store. Keep them inside of the cluster, or set tls.enabled=true."]),
        (["tls.enabled=true"], ["With TLS: Kafka, MinIO, the store."]),
        (
            ["tls.enabled=true", "kafka.enabled=false", "kafka.external.bootstrap=b:9092"],
            [
                "With TLS: MinIO, the store.",
                "Without TLS: the brokers elsewhere, since kafka.external.securityProtocol is PLAINTEXT.",
            ],
        ),
        (
            _ALL_ELSEWHERE,
            [
                "With TLS: the brokers elsewhere.",
                "With TLS: the S3 service at https://s3.example.com.",
                "With TLS if its URL begins with rediss: the store elsewhere.",
            ],
        ),
        (
            (*_WITH_USERS, "tls.caSecret=company-ca", "s3.external.endpoint=http://s3"),
            [
                "With TLS: the brokers elsewhere, for which ca.crt in company-ca vouches.",
                "Without TLS: the S3 service at http://s3.",
                "With TLS if its URL begins with rediss: the store elsewhere.",
            ],
        ),
    ],
)
def test_what_is_encrypted_is_told_of_each_server(chart: Path, values: list[str], told: list[str]) -> None:
    text = notes(chart, *sets(*values))
    assert re.findall(r"^.*\bTLS\b.*$", text, re.M) == told


@pytest.mark.parametrize("values", [_ALL_ELSEWHERE, _WITH_USERS], ids=["certificate", "users"])
def test_a_producer_is_sent_to_the_chart_s_own_secrets_only_for_its_own_brokers(chart: Path, values: list[str]) -> None:
    own = notes(chart, *sets("tls.enabled=true", "kafka.existingSecrets.producer=mine", "tls.existingSecret=servers"))
    assert "password in the Secret mine\nand ca.crt in servers." in own
    assert "A program of yours" not in notes(chart, *sets(*values))


_SECRETS = ("default", "tls", "tls-of-ones-own", "own-secrets", "external-lake", "external-postgres", "production")


@pytest.mark.parametrize("case", _SECRETS)
def test_the_secrets_that_stay_are_all_that_are_kept(chart: Path, case: str) -> None:
    secrets = of_kind(objects(case), "Secret")
    kept = [each for each in secrets if "helm.sh/resource-policy" in each["metadata"].get("annotations", {})]
    end = notes(chart, *CASES[case]).partition("`helm uninstall` leaves the volume claims and these Secrets")[2]
    assert re.findall(r"^  (\S+)$", end, re.M) == sorted(each["metadata"]["name"] for each in kept)


def test_where_nothing_stays_nothing_is_told_to_stay(chart: Path) -> None:
    assert "helm uninstall" not in notes(chart, *sets(*_ALL_ELSEWHERE))
