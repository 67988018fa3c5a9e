"""The jobs that run once: again for each revision and whatever changes; provision can restore, and be held back."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, ROOT, named, of_kind, template


def job(*options: str) -> dict:
    found = [each for each in yaml.safe_load_all(template(*options).stdout) if each]
    [name] = [j["metadata"]["name"] for j in of_kind(found, "Job") if "provision" in j["metadata"]["name"]]
    return named(found, "Job", name)["spec"]


@pytest.mark.parametrize(
    "lake", [(), ("--set", "minio.enabled=false,s3.external.endpoint=https://s3,s3.existingSecret=k")]
)
def test_a_release_restores_only_when_it_is_told_to(lake: tuple[str, ...]) -> None:
    [usual], [restoring] = (
        job(*lake, *options)["template"]["spec"]["containers"] for options in ((), ("--set", "provision.restore=true"))
    )
    assert restoring["command"] == [*usual["command"], "--restore"]
    assert "--restore" not in usual["command"]
    assert restoring["args"] == usual["args"] == ["--domain", "shop"]


def test_a_job_that_is_held_back_is_one_that_kubernetes_suspends() -> None:
    assert job()["suspend"] is False
    assert job("--set", "provision.suspend=true")["suspend"] is True


@lru_cache
def names(*options: str) -> list[str]:
    """Of the jobs, without their common beginning."""
    found = [each for each in yaml.safe_load_all(template(*options).stdout) if each]
    return sorted(job["metadata"]["name"].removeprefix("tide-tidemark-") for job in of_kind(found, "Job"))


def test_a_job_that_would_run_the_same_has_the_same_name_though_it_is_rendered_again() -> None:
    migrate, provision = names()
    assert migrate.startswith("migrate-1-")
    assert provision.startswith("provision-1-")
    assert names() == [migrate, provision] == names("--set", "provision.suspend=true,dashboard.replicas=2")


def test_a_job_has_another_name_for_each_revision(tmp_path: Path) -> None:
    """`helm template` renders the first alone, so the second is made up."""
    chart = tmp_path / "tidemark"
    shutil.copytree(CHART, chart)
    second = '(dict "Values" .Values "Chart" .Chart "Release" (merge (dict "Revision" 2) .Release))'
    name = f'{{{{ include "tidemark.jobName" (list {second} "provision" "pod") }}}}'
    (chart / "templates/second.yaml").write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
    done = template("-s", "templates/second.yaml", chart=chart)
    assert yaml.safe_load(done.stdout)["metadata"]["name"].startswith("tide-tidemark-provision-2-")


@pytest.mark.parametrize(
    "options",
    [
        ("--set", "images.app.tag=9.9.9"),
        ("--set", "domains.run={shop,stocks}"),
        ("--set", "s3.bucket=another"),
        ("--set", "s3.existingSecrets.lander=mine"),
        ("--set", "provision.restore=true"),
        ("--set", "tls.enabled=true"),
        ("--set-file", f"domains.files.shop={ROOT / 'lake/domains/stocks.yaml'}"),
    ],
    ids=lambda options: options[1].partition("=")[0],
)
def test_provision_has_another_name_where_it_would_make_something_else(options: tuple[str, str]) -> None:
    assert names(*options)[1] != names()[1]


@pytest.mark.parametrize(
    "option", ["images.airflow.tag=9.9.9", "postgres.existingSecret=mine", "airflow.parallelism=9"]
)
def test_migrate_has_another_name_where_it_would_run_something_else(option: str) -> None:
    assert names("--set", option)[0] != names()[0]


def test_the_name_of_a_job_fits_the_label_that_it_becomes() -> None:
    [migrate, provision] = names("--set", f"fullnameOverride={'x' * 60}")
    assert 50 < len(provision) <= 63 - len("9999")
    assert len(migrate) <= 63
