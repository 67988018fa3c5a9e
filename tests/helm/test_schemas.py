"""What the chart renders to is what the API of Kubernetes takes, field by field."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest

from local.tools import KUBERNETES_VERSION, build_one
from tests.helm.chart import CASES, CHART, PROFILES, helm, objects, text_of

_FOREIGN = {"ServiceMonitor", "PrometheusRule"}
"""Of Prometheus' operator, which brings its own schemas."""


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The strict schemas of Kubernetes' API, with references from file to file as kubeconform follows them."""
    folder = tmp_path_factory.mktemp("schemas")
    package = Path(kubernetes_validate.__file__).parent
    for path in (package / f"kubernetes-json-schema/v{KUBERNETES_VERSION}-local-strict").glob("*.json"):
        schema = json.loads(path.read_text().replace("/api/_definitions.json", "_definitions.json"))
        schema.pop("$id", None)
        (folder / path.name).write_text(json.dumps(schema))
    return folder


def conforms(schemas: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(str(build_one("kubeconform") / "kubeconform"), "-strict", "-summary", "-output", "json"),
            *("-skip", ",".join(_FOREIGN)),
            *("-schema-location", f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"),
            *map(str, files),
        ],
        check=False,
        capture_output=True,
        text=True,
    )


def test_every_object_of_every_case_is_one_that_kubernetes_knows(schemas: Path, tmp_path: Path) -> None:
    for case in CASES:
        (tmp_path / f"{case}.yaml").write_text(text_of(case))
    done = conforms(schemas, *tmp_path.iterdir())
    told = json.loads(done.stdout)
    assert done.returncode == 0, told.get("resources")
    kinds = [each["kind"] for case in CASES for each in objects(case)]
    foreign = sum(kind in _FOREIGN for kind in kinds)
    assert foreign == 12  # of four cases
    assert told["summary"] == {"valid": len(kinds) - foreign, "invalid": 0, "errors": 0, "skipped": foreign}


def test_a_field_that_is_misspelt_does_not_conform(schemas: Path, tmp_path: Path) -> None:
    text = text_of("default")
    assert "terminationGracePeriodSeconds" in text
    (tmp_path / "misspelt.yaml").write_text(text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds"))
    done = conforms(schemas, tmp_path / "misspelt.yaml")
    assert done.returncode == 1
    assert "terminationGraceSeconds" in done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_helm_has_nothing_to_say_against_it(profile: str) -> None:
    done = helm(
        "lint",
        "--strict",
        str(CHART),
        *PROFILES[profile],
        "--set",
        "monitoring.serviceMonitor=false,monitoring.prometheusRule=false",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_no_two_objects_have_one_name(case: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects(case)]
    assert len(names) == len(set(names))
    assert all(each["metadata"]["namespace"] == "lake" for each in objects(case))
