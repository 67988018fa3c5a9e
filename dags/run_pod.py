"""A task that is one of Tidemark's programs in a pod of its own; with Spark the pod is the driver of executor pods.

Invariant: no secret is in the pod's request: names of a Secret's keys are, and Kubernetes fills them in. The program is
a list of arguments that no shell reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import models as k8s

from dags.masking import mask_secrets
from dags.program import Arguments, Program, last_document, last_words
from dags.spark_on_kubernetes import DRIVER_PORTS, driver_environment
from lake.errors import BadSettings
from lake.settings import Settings

_TAIL_LINES = 200


class RunPod(Program, KubernetesPodOperator):
    """`python -m <module> <arguments> --json` in a pod: its output is the task's log, the last document in it the XCom.

    The pod outlives the worker: a task that is tried again after its worker was lost goes on with the pod that runs.
    """

    template_fields = ("domain", *KubernetesPodOperator.template_fields)

    def __init__(
        self,
        *,
        settings: Settings,
        module: str,
        domain: Any,
        arguments: Arguments,
        spark: bool,
        tell: Callable[[Any], str] | None = None,
        **options: Any,
    ) -> None:
        if not settings.kubernetes_image:
            raise BadSettings(
                "TIDEMARK_SUBMIT=kubernetes needs TIDEMARK_KUBERNETES_IMAGE, the image of the pods that run programs"
            )
        size = {"cpu": settings.kubernetes_cpu, "memory": settings.kubernetes_memory}
        pod: dict[str, Any] = {
            "namespace": settings.kubernetes_namespace,
            "image": settings.kubernetes_image,
            "cmds": ["python", "-m", module],
            "service_account_name": settings.kubernetes_service_account,
            "automount_service_account_token": spark,  # a driver makes its executors; nobody else asks Kubernetes
            "env_from": [
                k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=settings.kubernetes_config_map)),
                k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=settings.kubernetes_secret)),
            ],
            "container_resources": k8s.V1ResourceRequirements(requests=size, limits={"memory": size["memory"]}),
            "labels": {"app.kubernetes.io/part-of": "tidemark", "app.kubernetes.io/component": "job"},
            "log_pod_spec_on_failure": False,
        }
        if settings.kubernetes_pod_template:
            pod["pod_template_file"] = str(settings.kubernetes_pod_template)
        if spark:
            pod["env_vars"] = driver_environment(settings)
            pod["ports"] = [k8s.V1ContainerPort(name=name, container_port=port) for name, port in DRIVER_PORTS.items()]
        # Airflow's sidecar for results would be one image more to fetch: the document is in the log.
        super().__init__(**pod | options, do_xcom_push=False)
        self.settings = settings
        self.module = module
        self.domain = domain
        self.make_arguments = arguments
        self.tell = tell
        self._said: list[str] = []

    def build_pod_request_obj(self, context: Any = None, *, dry_run: bool = False) -> k8s.V1Pod:
        self.arguments = self.ask_arguments(context)
        self.labels = {**self.labels, "tidemark/domain": self.domain}
        self.log.info("python -m %s %s", self.module, " ".join(self.arguments))
        return super().build_pod_request_obj(context, dry_run=dry_run)

    def execute(self, context: Any) -> None:
        masked = mask_secrets(self.settings)
        self.log_formatter = lambda _container, line: masked(line)
        try:
            super().execute(context)
        except AirflowFailException:
            raise
        except AirflowException as error:
            name = self.pod.metadata.name if self.pod else "that could not be made"
            words = masked(last_words(self._said) if self._said else str(error))
            raise AirflowException(f"{self.module} failed in pod {name}:\n{words}") from error
        self.result = last_document(self._said, masked)
        context["ti"].xcom_push(key="return_value", value=self.result)

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:  # type: ignore[override]
        """Read what it said last while the pod is still there."""
        super().await_pod_completion(pod)
        # Undecoded: the client would read a log that is one JSON document as Python's dict, and print that.
        reply = self.client.read_namespaced_pod_log(
            pod.metadata.name,
            pod.metadata.namespace,
            container=self.base_container_name,
            tail_lines=_TAIL_LINES,
            _preload_content=False,
        )
        self._said = reply.data.decode(errors="backslashreplace").splitlines()
