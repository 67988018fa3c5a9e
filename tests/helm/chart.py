"""The chart as `helm template` renders it, and what its tests ask of it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from local.tools import KUBERNETES_VERSION, ROOT, build_one

CHART = ROOT / "helm" / "tidemark"
NAMESPACE = "lake"
_OPERATOR = "monitoring.coreos.com/v1"
_EXTERNAL_LAKE = ("minio.enabled=false", "s3.external.endpoint=https://s3.example.com", "s3.existingSecret=lake-keys")

PROFILES: dict[str, tuple[str, ...]] = {
    "default": (),
    "kind": ("-f", str(CHART / "values-kind.yaml")),
    "production": ("-f", str(CHART / "values-production.yaml")),
}
_SWITCHES = {
    "external-kafka": ("kafka.enabled=false", "kafka.external.bootstrap=broker-1:9092\\,broker-2:9092"),
    "external-lake": _EXTERNAL_LAKE,
    "lander-with-a-key-of-its-own": ("s3.existingSecrets.lander=lander-keys",),
    "external-store": ("store.enabled=false", "store.existingSecret=store-url"),
    "external-postgres": ("postgres.enabled=false", "postgres.existingSecret=database"),
    "own-secrets": (
        *("minio.existingSecret=minio-root", "airflow.existingSecret=airflow-keys"),
        "airflow.webhookSecret=webhook",
    ),
    "kubernetes-executor": ("airflow.executor=KubernetesExecutor", "airflow.logsClaim=logs"),
    "every-domain": ("domains.run={shop,stocks,hashtags,plates,documents}", "producer.enabled=true"),
    "ingresses": (
        *("dashboard.ingress.enabled=true", "dashboard.ingress.host=tide.example.com"),
        *("airflow.ingress.enabled=true", "airflow.ingress.host=dags.example.com", "airflow.ingress.tlsSecret=tls"),
    ),
    "without-extras": (
        "canary.enabled=false",
        "console.enabled=false",
        "airflow.triggerer.enabled=false",
        "networkPolicy.enabled=false",
    ),
    "narrow": ("networkPolicy.egressTo[0].ipBlock.cidr=192.0.2.0/24", "domains.run={shop,stocks}"),
    "placed": ("scheduling.nodeSelector.pool=lake", "scheduling.priorityClassName=high", "images.pullSecrets={login}"),
    "tls": ("tls.enabled=true", "domains.run={shop,plates}", "producer.enabled=true"),
    "tls-of-ones-own": (
        *("tls.enabled=true", "tls.existingSecret=servers", "tls.commonName=tide"),
        "kafka.existingSecrets.lander=lander-user",
    ),
    "external-kafka-with-users": (
        *("kafka.enabled=false", "kafka.external.bootstrap=broker-1:9092", "kafka.external.securityProtocol=SASL_SSL"),
        *("kafka.external.saslMechanism=SCRAM-SHA-256", "kafka.existingSecret=kafka-user", "tls.caSecret=company-ca"),
    ),
    "monitored": ("monitoring.serviceMonitor=true", "monitoring.prometheusRule=true"),
    "exporters": ("monitoring.serviceMonitor=true", "monitoring.exporters=true"),
    "exporters-with-tls": (
        *("monitoring.serviceMonitor=true", "monitoring.exporters=true", "tls.enabled=true"),
        *("airflow.executor=KubernetesExecutor", "airflow.logsClaim=logs"),
    ),
}
CASES = PROFILES | {
    name: tuple(option for value in values for option in ("--set", value)) for name, values in _SWITCHES.items()
}

CASES["routed"] = (
    *("--set", "domains.run={shop,german}", "--set", "producer.enabled=true"),
    *("--set-file", f"domains.files.german={Path(__file__).parent / 'german.yaml'}"),
)

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that the chart describes: of a controller, or a template that Airflow or Spark reads."""

    owner: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    is_template: bool = False

    @property
    def containers(self) -> list[Any]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm's answer, whatever it is."""
    return subprocess.run([str(build_one("helm") / "helm"), *arguments], check=False, capture_output=True, text=True)


def template(*options: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """`helm template` of a release in NAMESPACE, for a cluster that has Prometheus' operator."""
    versions = ("--kube-version", KUBERNETES_VERSION, "--api-versions", _OPERATOR)
    return helm("template", "tide", str(chart), "--namespace", NAMESPACE, *versions, *options)


@lru_cache(maxsize=64)
def text_of(case: str) -> str:
    done = template(*CASES[case])
    assert done.returncode == 0, done.stderr
    return done.stdout


@lru_cache(maxsize=64)
def objects(case: str) -> list[Object]:
    """What a case renders to. Not to be changed: it is read once."""
    return [each for each in yaml.load_all(text_of(case), yaml.CSafeLoader) if each]


def of_kind(found: list[Object], *kinds: str) -> list[Object]:
    return [each for each in found if each["kind"] in kinds]


def named(found: list[Object], kind: str, name: str) -> Object:
    [one] = [each for each in of_kind(found, kind) if each["metadata"]["name"] == name]
    return one


def pods(found: list[Object]) -> list[Pod]:
    """Every pod, those of templates in ConfigMaps as well."""
    return list(_pods(found))


def _pods(found: list[Object]) -> Iterator[Pod]:
    for each in found:
        owner = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            inner = each["spec"]["template"]
            yield Pod(owner, inner["metadata"]["labels"], inner["spec"])
        elif each["kind"] == "Pod":
            yield Pod(owner, each["metadata"]["labels"], each["spec"])
        elif each["kind"] == "ConfigMap":
            for name, content in each["data"].items():
                if "kind: Pod" in content:
                    read = yaml.load(content, yaml.CSafeLoader)
                    yield Pod(f"{owner}/{name}", read["metadata"]["labels"], read["spec"], is_template=True)


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of a policy, a budget or a controller picks these labels."""
    picks = (selector.get("matchLabels") or {}).items() <= labels.items()
    return picks and all(
        labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
        if each["operator"] == "In"
    )


def plain(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def named_keys(pod: Pod) -> Iterator[tuple[str, str | None]]:
    """Each Secret that a pod reads, and which of its keys."""
    for container in pod.containers:
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for volume in pod.spec.get("volumes", []):
        sources = [volume["secret"]] if "secret" in volume else []
        sources += [each["secret"] for each in volume.get("projected", {}).get("sources", []) if "secret" in each]
        for source in sources:
            name = source.get("secretName") or source["name"]
            yield from ((name, item["key"]) for item in source.get("items", [{"key": None}]))


def lake_rights() -> dict[str, list[str]]:
    """Below which prefixes of the bucket each identity may put objects."""
    data = named(objects("default"), "ConfigMap", "tide-tidemark-policies")["data"]
    return {
        name.removesuffix(".json"): [
            resource.removeprefix("arn:aws:s3:::tidemark/")
            for statement in json.loads(text)["Statement"]
            if "s3:PutObject" in statement["Action"]
            for resource in statement["Resource"]
        ]
        for name, text in data.items()
    }
