"""The stack of one home directory: started part by part, each awaited until it serves, stopped as a whole.

Everything it needs to be found again is in the home: settings.env (ports, logins, paths; mode 600)
and supervisord's files. A home is one stack; two homes with different ports run side by side.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from xmlrpc.client import Fault

from lake.settings import Settings
from local.cache import require_free_disk
from local.errors import PartFailed
from local.parts import DOMAINS, ROUTED, SERVERS, Part, all_parts, environment, write_private
from local.ports import HOST, Ports, require_free
from local.showcase import chosen_domains, routed_domains
from local.supervisor import Supervisor, tail
from local.tools import ROOT, Tools

STARTED = ("STARTING", "RUNNING", "BACKOFF")


class Stack:
    def __init__(self, home: Path, tools: Tools, die_with_parent: bool = False) -> None:
        self.home = home.absolute()
        self.supervisor = Supervisor(self.home)
        self._tools = tools
        self._die_with_parent = die_with_parent

    def configure(self, ports: Ports, segment_seconds: int, domains: str | None = None) -> None:
        """Write settings.env; logins that it already holds stay. A running stack keeps its ports.

        `domains`: which run, as `shop,stocks` or `all`; None for those of the last time, or none of them.
        Raises PartFailed if others run now.
        """
        known = self.variables()
        if domains is not None:
            names = chosen_domains(self.settings(), domains)
            wanted = {DOMAINS: ",".join(names), ROUTED: ",".join(routed_domains(self.settings(), names))}
        else:
            wanted = {}
        if self.supervisor.process():
            if any(known.get(name) != value for name, value in wanted.items()):
                raise PartFailed(
                    f"the stack in {self.home} runs {known.get(DOMAINS) or 'no domain'}, not {wanted[DOMAINS]}: "
                    "`tidemark down` first, its data stays"
                )
            return
        self.home.mkdir(parents=True, exist_ok=True)
        password = known.get("TIDEMARK_STORE_PASSWORD") or secrets.token_urlsafe(24)
        values = {
            "TIDEMARK_S3_ACCESS_KEY": "tidemark",
            "TIDEMARK_S3_SECRET_KEY": secrets.token_urlsafe(24),
            "TIDEMARK_AIRFLOW_PASSWORD": secrets.token_urlsafe(12),
            "TIDEMARK_AIRFLOW_SECRET": secrets.token_urlsafe(48),
            "TIDEMARK_SEGMENT_SECONDS": str(segment_seconds),
            **known,
            "TIDEMARK_STORE_PASSWORD": password,
            "TIDEMARK_KAFKA_BOOTSTRAP": f"{HOST}:{ports.kafka}",
            "TIDEMARK_S3_ENDPOINT": f"http://{HOST}:{ports.minio}",
            "TIDEMARK_STORE_URL": f"redis://:{password}@{HOST}:{ports.store}/0",
            "TIDEMARK_PRISM_BINARY": str(self._tools.prism),
            "TIDEMARK_FLINK_JARS_DIR": str(self._tools.flink_jars),
            "TIDEMARK_SPARK_JARS_DIR": str(self._tools.spark_jars),
            **ports.variables(),
            **wanted,
        }
        lines = [f"{name}={value}\n" for name, value in sorted(values.items())]
        write_private(self.home / "settings.env", "".join(lines))

    def variables(self) -> dict[str, str]:
        """What settings.env holds; nothing before `configure`."""
        try:
            lines = (self.home / "settings.env").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split("=", 1) for line in lines)

    def settings(self) -> Settings:
        """This stack's settings, whatever the environment says."""
        fields = {name.removeprefix("TIDEMARK_").lower(): value for name, value in self.variables().items()}
        return Settings(home=self.home, **fields)  # type: ignore[arg-type]

    @property
    def domains(self) -> list[str]:
        """The domains that this stack runs."""
        return [name for name in self.variables().get(DOMAINS, "").split(",") if name]

    def environment(self) -> dict[str, str]:
        """The environment of whatever works with this stack."""
        variables = self.variables()
        return os.environ | variables | environment(self.home, Ports.read(variables), variables)

    def parts(self) -> dict[str, Part]:
        variables = self.variables()
        return all_parts(self.home, Ports.read(variables), variables, self._tools)

    def start(self, names: Sequence[str]) -> None:
        """Start what is not running yet, without waiting. Raises PortTaken, DiskFull or PartFailed."""
        parts = self.parts()
        require_free_disk(self.home, "set TIDEMARK_HOME to a directory on a larger disk")
        states = self.supervisor.states()
        wanted = [parts[name] for name in names if states.get(name, {}).get("statename") not in STARTED]
        for part in wanted:
            for name, port in part.ports.items():
                require_free(part.name, name, port)
        if not self.supervisor.process():
            self.supervisor.start(
                {name: part.launch for name, part in parts.items()},
                self.environment(),
                ROOT,
                self._die_with_parent,
            )
        for part in wanted:
            part.prepare()
            try:
                self.supervisor.call("startProcess", part.name, False)
            except Fault as fault:
                raise PartFailed(f"{part.name} cannot be started: {fault.faultString}") from fault

    def await_healthy(self, names: Sequence[str]) -> None:
        """Wait until each part serves. Raises PartFailed with the reason and the end of its log."""
        started = time.monotonic()
        waiting = [self.parts()[name] for name in names]
        while waiting:
            states = self.supervisor.states()
            for part in list(waiting):
                state = states.get(part.name, {}).get("statename", "not started")
                reason = self._unhealthy(part, state)
                if reason is None:
                    waiting.remove(part)
                elif state in ("FATAL", "EXITED", "STOPPED", "UNKNOWN", "not started"):
                    raise PartFailed(self._failure(part, f"is {state}"))
                elif time.monotonic() - started > part.start_seconds:
                    raise PartFailed(self._failure(part, f"does not serve after {part.start_seconds} s ({reason})"))
            if waiting:
                time.sleep(0.2)

    def up(self, names: Sequence[str]) -> None:
        self.start(names)
        self.await_healthy(names)

    def stop(self) -> list[str]:
        """Stop everything; the names of the parts that were running."""
        running = self.running()
        self.supervisor.shut_down([[name for name in running if name not in SERVERS], SERVERS])
        return running

    def running(self) -> list[str]:
        """The parts that are started, served or not."""
        states = self.supervisor.states()
        return [name for name, info in states.items() if info["statename"] in STARTED]

    def _unhealthy(self, part: Part, state: str) -> str | None:
        if state == "RUNNING" and part.unhealthy is None:
            return None
        if state not in ("STARTING", "RUNNING") or part.unhealthy is None:
            return state
        return part.unhealthy()

    def _failure(self, part: Part, what: str) -> str:
        log = self.supervisor.log(part.name)
        return f"{part.name} {what}. The end of its log, {log}:\n{tail(log)}"
