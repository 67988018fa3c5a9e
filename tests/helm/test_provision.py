"""The provision job restores when it is told to, and can be held back until a bucket is copied."""

from __future__ import annotations

import pytest
import yaml

from tests.helm.chart import named, of_kind, template


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
