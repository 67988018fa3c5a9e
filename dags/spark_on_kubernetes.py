"""The environment of a pod that is a Spark driver in client mode, whose executors are pods beside it.

Invariant: executors get secrets as references to keys of a Secret, never as values. Spark reads the properties from
PYSPARK_SUBMIT_ARGS, so the programs are the same as on one machine.

Source: "Running Spark on Kubernetes", Client Mode and Spark Properties (spark.apache.org/docs/4.2.0).
"""

from __future__ import annotations

import shlex

from kubernetes.client import models as k8s

from lake.settings import Settings

DRIVER_PORTS = {"driver": 7078, "blockmanager": 7079}
MASTER = "k8s://https://kubernetes.default.svc"
_EXECUTOR_SECRETS = {"AWS_ACCESS_KEY_ID": "TIDEMARK_S3_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "TIDEMARK_S3_SECRET_KEY"}


def spark_properties(settings: Settings) -> dict[str, str]:
    """Properties of the session; $(POD_IP) and $(POD_NAME) are filled in by Kubernetes when the pod starts."""
    secrets = {
        f"spark.kubernetes.executor.secretKeyRef.{variable}": f"{settings.kubernetes_secret}:{key}"
        for variable, key in _EXECUTOR_SECRETS.items()
    }
    template = {"spark.kubernetes.executor.podTemplateFile": settings.spark_executor_template}
    return {
        "spark.submit.deployMode": "client",
        "spark.driver.host": "$(POD_IP)",
        "spark.driver.bindAddress": "0.0.0.0",
        "spark.driver.port": str(DRIVER_PORTS["driver"]),
        "spark.driver.blockManager.port": str(DRIVER_PORTS["blockmanager"]),
        # The executors' owner: they end with it, however it ends.
        "spark.kubernetes.driver.pod.name": "$(POD_NAME)",
        "spark.kubernetes.namespace": settings.kubernetes_namespace,
        "spark.kubernetes.container.image": settings.kubernetes_image,
        "spark.kubernetes.authenticate.executor.serviceAccountName": settings.kubernetes_service_account,
        "spark.kubernetes.executor.label.app.kubernetes.io/part-of": "tidemark",
        "spark.kubernetes.executor.label.app.kubernetes.io/component": "executor",
        "spark.executor.instances": str(settings.spark_executors),
        "spark.executor.cores": str(settings.spark_executor_cores),
        "spark.kubernetes.executor.request.cores": settings.spark_executor_cpu,
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.executor.memoryOverhead": settings.spark_executor_overhead,
        "spark.executor.extraClassPath": f"{settings.kubernetes_jars_dir}/*",
        **(template if settings.spark_executor_template else {}),
    } | secrets


def driver_environment(settings: Settings) -> list[k8s.V1EnvVar]:
    """In this order: a variable may refer to those before it."""
    properties = [f"--conf {shlex.quote(f'{key}={value}')}" for key, value in spark_properties(settings).items()]
    return [
        _of_the_pod("POD_IP", "status.podIP"),
        _of_the_pod("POD_NAME", "metadata.name"),
        k8s.V1EnvVar(name="TIDEMARK_SPARK_MASTER", value=MASTER),
        k8s.V1EnvVar(name="TIDEMARK_SPARK_JARS_DIR", value=settings.kubernetes_jars_dir),
        k8s.V1EnvVar(name="PYSPARK_SUBMIT_ARGS", value=" ".join([*properties, "pyspark-shell"])),
    ]


def _of_the_pod(name: str, path: str) -> k8s.V1EnvVar:
    source = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path=path))
    return k8s.V1EnvVar(name=name, value_from=source)
