"""kube-score and checkov find nothing in the profiles but what waivers.yaml names, with a reason; and they would.

Pods that Airflow and Spark make are scored, too: their templates stand beside the chart's objects.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.tools import KUBERNETES_VERSION, build_one
from tests.helm.chart import NAMESPACE, PROFILES, Object, objects, pods

WAIVERS = Path(__file__).parent / "waivers.yaml"
_PREFIX = "tide-tidemark-"
_FOREIGN = {"ServiceMonitor", "PrometheusRule"}
_PRIVILEGED = "privileged"
"""The profile of an object that both must refuse."""


@dataclass(frozen=True, order=True)
class Finding:
    profile: str
    check: str
    name: str
    """Kind/name, without the release's prefix."""


@dataclass(frozen=True)
class Waiver:
    check: str
    objects: str
    profile: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        return (self.check, self.profile) == (finding.check, finding.profile) and fnmatchcase(
            finding.name, self.objects
        )


@dataclass(frozen=True)
class Scores:
    found: frozenset[Finding]
    passed: Counter[str]
    """Checks that a profile passed."""


def waivers() -> Iterator[Waiver]:
    for entry in yaml.safe_load(WAIVERS.read_text()):
        for profile in entry.get("profiles", PROFILES):
            for check in entry["checks"]:
                yield from (Waiver(check, each, profile, entry["reason"]) for each in entry["objects"])


def scored(profile: str) -> list[Object]:
    """The profile's objects, and its templates as the pods that come of them."""
    if profile == _PRIVILEGED:
        return [_privileged()]
    found = [each for each in objects(profile) if each["kind"] not in _FOREIGN]
    return found + [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": _PREFIX + Path(pod.owner).stem, "namespace": NAMESPACE, "labels": dict(pod.labels)},
            "spec": dict(pod.spec),
        }
        for pod in pods(found)
        if pod.is_template
    ]


def _privileged() -> Object:
    [test] = [each for each in objects("default") if each["kind"] == "Pod"]
    spec = json.loads(json.dumps(test["spec"]))
    spec["containers"][0]["securityContext"]["privileged"] = True
    return {**test, "spec": spec}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each profile, and one of what is refused."""
    made = tmp_path_factory.mktemp("scored")
    for profile in (*PROFILES, _PRIVILEGED):
        (made / f"{profile}.yaml").write_text(yaml.dump_all(scored(profile), Dumper=yaml.CSafeDumper))
    return made


@pytest.fixture(scope="module")
def kube_score(folder: Path) -> Scores:
    found, passed = set(), Counter[str]()
    for file in folder.iterdir():
        told = _json(
            *(str(build_one("kube-score") / "kube-score"), "score", "--output-format", "json"),
            *("--kubernetes-version", f"v{KUBERNETES_VERSION.rpartition('.')[0]}"),
            *("--enable-optional-test", "container-seccomp-profile", "--enable-optional-test", "container-ports-check"),
            str(file),
        )
        for each in told:
            kind, name = each["type_meta"]["kind"], each["object_meta"]["name"]
            for check in each["checks"]:
                if check["skipped"]:
                    continue
                if check["grade"] == 10:
                    passed[file.stem] += 1
                else:
                    found.add(Finding(file.stem, check["check"]["id"], f"{kind}/{name.removeprefix(_PREFIX)}"))
    return Scores(frozenset(found), passed)


@pytest.fixture(scope="module")
def checkov(folder: Path) -> Scores:
    """Of all files at once: most of its time is its start. It asks nobody on the network."""
    told = _json(
        *(str(build_one("checkov") / "bin/python"), "-m", "checkov.main", "--directory", str(folder)),
        *("--framework", "kubernetes", "--skip-download", "--compact", "--output", "json"),
    )
    assert told["summary"]["parsing_errors"] == 0
    passed = Counter(Path(each["file_path"]).stem for each in told["results"]["passed_checks"])
    found = set()
    for each in told["results"]["failed_checks"]:
        kind, _, name = each["resource"].split(".")
        found.add(Finding(Path(each["file_path"]).stem, each["check_id"], f"{kind}/{name.removeprefix(_PREFIX)}"))
    return Scores(frozenset(found), passed)


def _json(*command: str) -> Any:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("tool", ["kube_score", "checkov"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_passes_but_for_what_has_a_reason(tool: str, profile: str, request: pytest.FixtureRequest) -> None:
    scores: Scores = request.getfixturevalue(tool)
    assert scores.passed[profile] > 300
    excused = list(waivers())
    found = sorted(each for each in scores.found if each.profile == profile)
    assert [each for each in found if not any(waiver.covers(each) for waiver in excused)] == []


def test_every_waiver_is_needed_and_has_a_reason(kube_score: Scores, checkov: Scores) -> None:
    found = kube_score.found | checkov.found
    declared = list(waivers())
    assert all(waiver.reason.endswith(".") for waiver in declared)
    assert [waiver for waiver in declared if not any(waiver.covers(each) for each in found)] == []


def test_a_privileged_container_is_refused_by_both(kube_score: Scores, checkov: Scores) -> None:
    assert Finding(_PRIVILEGED, "container-security-context-privileged", "Pod/test") in kube_score.found
    assert Finding(_PRIVILEGED, "CKV_K8S_16", "Pod/test") in checkov.found
