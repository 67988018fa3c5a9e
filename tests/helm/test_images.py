"""The images are those that the chart names, pinned, run by its user; and the app's entry point starts executors."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import yaml

from local.tools import CHECKOV_VERSION, JMX_EXPORTER_VERSION, KAFKA_VERSION, ROOT
from tests.helm.chart import CHART

IMAGES = ROOT / "helm" / "images"
DOCKERFILE = (IMAGES / "Dockerfile").read_text()
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
EXECUTOR = {
    "SPARK_DRIVER_URL": "spark://driver",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "640m",
    "SPARK_APPLICATION_ID": "app",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "build-exec-7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_CLASSPATH": "/opt/tidemark/jars/*",
    "SPARK_JAVA_OPT_0": "-Dspark.driver.port=7078",
    "SPARK_JAVA_OPT_1": "-Dsaid=two words",
    "SPARK_JAVA_OPT_10": "-Dnot=reached",
}


def targets() -> dict[str, str]:
    """Each target of the Dockerfile, and what it consists of."""
    parts = re.split(r"^FROM \S+ AS (\S+)\n", DOCKERFILE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_image_of_the_chart_is_a_target_that_runs_as_its_user() -> None:
    names = set(VALUES["images"]) - {"registry", "pullPolicy", "pullSecrets"}
    user = VALUES["security"]["uid"]
    assert names <= targets().keys()
    for name in names:
        assert VALUES["images"][name]["repository"] == f"tidemark/{name}"
        assert f"USER {user}:{user}\n" in targets()[name]
    assert f"useradd --uid {user} " in targets()["base"]
    made = re.search(r"^IMAGES +:= (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert made and set(made[1].split()) == names


def test_what_an_image_is_built_with_is_pinned_as_everywhere_else() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [uv] = re.findall(r"^UV_VERSION := (\S+)$", makefile, re.M)
    assert f"ARG UV=uv=={uv}\n" in DOCKERFILE
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert f"VERSION    := {version}\n" in makefile
    assert ":latest" not in DOCKERFILE
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+", DOCKERFILE, re.M)


def test_brokers_and_the_tool_that_asks_the_quorum_are_of_one_version() -> None:
    pom = ElementTree.parse(ROOT / "local/kafka/pom.xml")
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    versions = {
        each.findtext("m:artifactId", "", space): each.findtext("m:version", "", space)
        for each in pom.iterfind(".//m:dependency", space)
    }
    assert versions["kafka-tools"] == versions["kafka_2.13"] == KAFKA_VERSION


def test_a_tool_is_kept_under_the_version_that_it_has() -> None:
    pom = ElementTree.parse(ROOT / "local/kafka/exporter.pom.xml")
    found = [each.text for each in pom.iterfind(".//{*}dependency/{*}version")]
    assert found == [JMX_EXPORTER_VERSION]
    assert f"checkov=={CHECKOV_VERSION}\n" in (ROOT / "local/checkov/requirements.txt").read_text()


def run(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """What the entry point runs, its `java` and `python` being ones that tell their arguments."""
    tell = "import json, os, sys; print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]))"
    for name in ("java", "program"):
        (folder / name).write_text(f"#!/usr/bin/env python3\n{tell}\n")
        (folder / name).chmod(0o755)
    (folder / "python").write_text("#!/bin/sh\necho /site/pyspark\n")
    (folder / "python").chmod(0o755)
    done = subprocess.run(
        ["sh", str(IMAGES / "run.sh"), *arguments],
        check=True,
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
    )
    told: list[str] = json.loads(done.stdout)
    return told


def test_an_executor_is_started_as_its_driver_asked_for_it(tmp_path: Path) -> None:
    java, *arguments = run(tmp_path, "executor", **EXECUTOR)
    assert java == "java"
    assert arguments[:4] == ["-Dspark.driver.port=7078", "-Dsaid=two words", "-Xms640m", "-Xmx640m"]
    assert arguments[4:6] == ["-cp", "/opt/tidemark/jars/*:/site/pyspark/jars/*"]
    assert arguments[6].endswith(".KubernetesExecutorBackend")
    options = dict(zip(arguments[7::2], arguments[8::2], strict=True))
    assert options == {
        "--driver-url": "spark://driver",
        "--executor-id": "7",
        "--cores": "2",
        "--app-id": "app",
        "--hostname": "10.0.0.7",
        "--resourceProfileId": "0",
        "--podName": "build-exec-7",
    }


def test_anything_else_is_run_as_it_is(tmp_path: Path) -> None:
    assert run(tmp_path, "program", "-m", "two words") == ["program", "-m", "two words"]
