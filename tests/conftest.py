"""The servers that tests run against: a stack of their own in a temporary home on free ports.

A test never sees another test's data, nor a running demo: `sandbox` is a bucket and a domain (so a
topic, too) that nobody else uses.
"""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from lake.domain import Domain, load_domain
from lake.log import Log
from lake.settings import Settings
from lake.yaml_file import read_yaml
from local.parts import SERVERS
from local.ports import Ports
from local.provision import create_bucket
from local.stack import Stack
from local.tools import Tools, set_up
from streaming.librdkafka import Consumer

for _name in [name for name in os.environ if name.startswith(("TIDEMARK_", "AIRFLOW"))]:
    del os.environ[_name]  # settings of a demo that the developer runs


@dataclass(frozen=True)
class Sandbox:
    settings: Settings
    domain: Domain

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that is to work in this sandbox."""
        return os.environ | {
            f"TIDEMARK_{name.upper()}": _plain(value) for name, value in self.settings if value is not None
        }


@pytest.fixture(scope="session")
def tools() -> Tools:
    return set_up()


@contextmanager
def running(tools: Tools, home: Path, parts: Sequence[str]) -> Iterator[Stack]:
    """Parts of a stack of its own. One that is killed is started again, on its data."""
    stack = Stack(home, tools, die_with_parent=True)
    stack.configure(Ports.free(), segment_seconds=10)
    try:
        stack.up(parts)
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def stack(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, MinIO and the store, running."""
    with running(tools, tmp_path_factory.mktemp("stack"), SERVERS) as stack:
        yield stack
        # Clients that tests have left, such as those in a failed one's traceback, would complain of the servers' end.
        gc.collect()
        for each in gc.get_objects():
            if issubclass(type(each), Consumer):  # isinstance() would ask a lazy module's stand-in for its class
                each.close()


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    return stack.settings()


@pytest.fixture(scope="session")
def make_sandbox(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sandbox]:
    """make_sandbox(base="shop", partitions=4, **settings): for a sandbox that a module shares.

    `base` is a shipped domain, or a file of a test's own.
    """

    def make(base: str | Path = "shop", partitions: int | None = None, **changes: object) -> Sandbox:
        unique = secrets.token_hex(4)
        file = base if isinstance(base, Path) else settings.domains_dir / f"{base}.yaml"
        name = f"{file.stem}_{unique}"
        declared = read_yaml(file.read_text()).data
        declared |= {"domain": name, "topic": name}
        if partitions is not None:
            declared["partitions"] = partitions
        domains = tmp_path_factory.mktemp("domains")
        (domains / f"{name}.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
        own = settings.model_copy(update={"bucket": f"test-{unique}", "domains_dir": domains, **changes})
        sandbox = Sandbox(own, load_domain(name, domains))
        create_bucket(own)
        Log(own, sandbox.domain).create_topic()
        return sandbox

    return make


@pytest.fixture
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A bucket, a domain and its topic for this test alone; raw is not created."""
    return make_sandbox()


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
