"""supervisord, the package that keeps the stack's processes: its file, its start, its XML-RPC.

The socket is in a short path of our own, since a Unix socket's name is limited to 107 bytes and a
home may be deep. supervisord adopts what its children leave behind (a subreaper), so its process
tree is the whole stack, whatever dies in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import http.client
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from lake.parent import end_with
from local.errors import PartFailed

_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """The supervisord of one home; no state of its own beside the files there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = _socket_dir() / f"{hashlib.sha256(bytes(home)).hexdigest()[:16]}.sock"

    def log(self, program: str) -> Path:
        return self.home / "logs" / f"{program}.log"

    def process(self) -> psutil.Process | None:
        """supervisord itself, or None when it is not running."""
        try:
            pid = int((self.home / "supervisord.pid").read_text())
            process = psutil.Process(pid)
            if str(self.home / "supervisord.conf") in process.cmdline():
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return None

    def start(
        self,
        programs: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        directory: Path,
        die_with_parent: bool = False,
    ) -> None:
        """Start supervisord with every program stopped. Raises PartFailed if it does not answer."""
        (self.home / "logs").mkdir(exist_ok=True)
        # The stack of a test run that is killed must not outlive it.
        parent = os.getpid() if die_with_parent else None
        configuration = self.home / "supervisord.conf"
        configuration.write_text(self._configuration(programs, directory))
        self.socket.unlink(missing_ok=True)
        with self.log("supervisord.out").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=partial(_adopt_orphans, parent),
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PartFailed(
                    f"supervisord did not start: see {self.log('supervisord.out')}\n"
                    + tail(self.log("supervisord.out"))
                )
            time.sleep(0.05)

    def call(self, method: str, *arguments: object) -> Any:
        """An XML-RPC call, `supervisor.<method>`."""
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def states(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each program (`statename`, `pid`, ...); nothing when it is down."""
        if self.process() is None:
            return {}
        return {info["name"]: info for info in self.call("getAllProcessInfo")}

    def shut_down(self, stages: Sequence[Sequence[str]]) -> None:
        """Stop the programs stage by stage, then supervisord, then whatever is left of its tree."""
        process = self.process()
        if process is None:
            return
        family = process.children(recursive=True)
        for stage in stages:
            running = [name for name in stage if self._stoppable(name)]
            for name in running:
                with contextlib.suppress(xmlrpc.client.Fault):  # it ended by itself
                    self.call("stopProcess", name, False)
            while any(self._stoppable(name) for name in running):
                time.sleep(0.1)
        family += process.children(recursive=True)
        self.call("shutdown")
        _gone, alive = psutil.wait_procs([process, *family], timeout=10)
        for left in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(alive, timeout=5)

    def _stoppable(self, program: str) -> bool:
        state = self.states().get(program, {}).get("statename")
        return state in ("STARTING", "RUNNING", "BACKOFF", "STOPPING")

    def _answers(self) -> bool:
        try:
            return bool(self.call("getState"))
        except (OSError, http.client.HTTPException):
            return False

    def _configuration(self, programs: Mapping[str, Sequence[str]], directory: Path) -> str:
        def escaped(text: object) -> str:
            return str(text).replace("%", "%%")

        sections = [
            "[supervisord]",
            f"logfile={escaped(self.log('supervisord'))}",
            "logfile_maxbytes=5MB",
            "logfile_backups=1",
            f"pidfile={escaped(self.home / 'supervisord.pid')}",
            "[unix_http_server]",
            f"file={escaped(self.socket)}",
            "chmod=0600",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for name, command in programs.items():
            sections += [
                f"[program:{name}]",
                f"command={escaped(shlex.join(command))}",
                f"directory={escaped(directory)}",
                "autostart=false",
                "autorestart=true",
                "startsecs=3",
                "startretries=5",
                "stopwaitsecs=20",
                "stopasgroup=true",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={escaped(self.log(name))}",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=2",
            ]
        return "\n".join(sections) + "\n"


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, or a word that there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:])


def _socket_dir() -> Path:
    """A directory that nobody else can put a socket into."""
    directory = Path(tempfile.gettempdir()) / f"tidemark-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.stat().st_mode & 0o077:
        raise PartFailed(f"{directory} is not a private directory of yours: remove it")
    return directory


def _adopt_orphans(parent: int | None) -> None:
    """In the child; with a `parent` it also stops when that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if parent is not None:
        end_with(parent, signal.SIGTERM)
