"""What a runner's workers have counted, told together with this process's own metrics.

Invariant: a counter says the same whether the pipeline runs in this process or in others of this machine, those that
have ended included.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

WORKERS_WRITE_TO = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that makes a process keep its counts in files of a directory."""


def registry_with_workers(folder: Path) -> CollectorRegistry:
    """This process's metrics; the counts in the files that workers keep in `folder` are added to its own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_WithWorkers(folder))
    return registry


class _WithWorkers(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        theirs = {metric.name: metric for metric in MultiProcessCollector(None, str(self._folder)).collect()}
        for metric in REGISTRY.collect():
            counted = theirs.get(metric.name)
            yield _sum(metric, counted) if counted and metric.type in ("counter", "histogram") else metric


def _sum(one: Metric, other: Metric) -> Metric:
    """Sample for sample. A histogram's order of buckets is that of either; both have all of them, or none."""
    values: dict[tuple, float] = {}
    for sample in (*other.samples, *one.samples):
        key = (sample.name, tuple(sorted(sample.labels.items())))
        values[key] = values.get(key, 0.0) + sample.value
    result = Metric(one.name, one.documentation, one.type)
    for (name, labels), value in values.items():
        result.add_sample(name, dict(labels), value)
    return result
