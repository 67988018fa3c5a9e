"""What a process of ours tells Prometheus, read as Prometheus would; and what this process's own metrics say."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

SERVED = {"TIDEMARK_METRICS_PORT": "0"}
"""The environment of a process that is to serve its metrics on a free port."""
_ADDRESS = re.compile(r"event='metrics' address='([^']+)'")


class Told:
    """The metrics of one process, whose log says where they are."""

    def __init__(self, log: Callable[[], str], until: Callable[..., None]) -> None:
        until(lambda: _ADDRESS.search(log()))
        found = _ADDRESS.search(log())
        assert found
        self.address = found[1]

    def text(self) -> str:
        return httpx.get(self.address, timeout=30).raise_for_status().text

    def __call__(self, sample: str, **labels: str) -> float | None:
        """A sample's value with exactly these labels; None if it is not told."""
        for family in text_string_to_metric_families(self.text()):
            for each in family.samples:
                if (each.name, each.labels) == (sample, labels):
                    return each.value
        return None


def own(sample: str, **labels: str) -> float | None:
    """The same of this process."""
    return REGISTRY.get_sample_value(sample, labels)
