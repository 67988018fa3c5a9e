"""Hours that are past: a domain whose events came in over the last hours, and its marts held against raw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pyarrow as pa
import yaml
from confluent_kafka import Producer

from lake.cuts import EPOCH
from lake.kernel import COUNTS, Kernel
from lake.log import Log
from lake.marts import Manifest, Mart, MartSnapshot
from lake.raw import Raw
from lake.settings import Settings
from lake.yaml_file import read_yaml
from local.airflow import Airflow
from local.parts import AIRFLOW, AIRFLOW_USER, write_private
from local.ports import Ports
from local.stack import Stack
from local.tools import Tools
from tests.conftest import Sandbox
from tests.jobs.landed import Landed

HOUR = timedelta(hours=1)
DAG = "build_marts"
VIEW = "revenue_by_country_hour"


def one_view(folder: Path) -> Path:
    """A file that declares the shop with one view and no dimension, where a test is about which slices there are."""
    declared = read_yaml((Settings().domains_dir / "shop.yaml").read_text()).data
    declared |= {"domain": "backfilled", "views": {VIEW: declared["views"][VIEW]}}
    del declared["dimensions"]
    (folder / "backfilled.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    return folder / "backfilled.yaml"


def last_ends(hours: int) -> list[datetime]:
    """The ends of the last so many past hours, oldest first; the newest ended two to three minutes ago."""
    newest = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    return [newest - n * HOUR for n in reversed(range(hours))]


def schedule(ends: Sequence[datetime]) -> str:
    """Hourly at their minute, as a cron expression; so its next run is most of an hour away and disturbs no test."""
    return f"{ends[-1].minute} * * * *"


def land_past(sandbox: Sandbox, ends: Sequence[datetime], events: int = 200) -> Landed:
    """So many events in each of the hours that end at `ends`, in two files, and half as many after the last."""
    landed = Landed(sandbox.settings, sandbox.domain, topic_id=Log(sandbox.settings, sandbox.domain).topic_id())
    for end in ends:
        for start in (end - HOUR, end - HOUR / 2):
            landed.events(start, 1700, events // 2)
    landed.events(ends[-1] + timedelta(seconds=1), 60, events // 2)
    return landed


def send_again(sandbox: Sandbox, landed: Landed) -> None:
    """The same records to Kafka, each at its offset: only their append times are not those of then.

    So the log ends where raw ends, and a lander lands the next records, markers among them, as it always does.
    """
    rows = pa.concat_tables(landed.raw.scan({}, landed.heads)).sort_by(
        [("partition", "ascending"), ("offset", "ascending")]
    )
    producer = Producer({"bootstrap.servers": sandbox.settings.kafka_bootstrap, "enable.idempotence": True})
    for row in rows.select(["partition", "key", "value"]).to_pylist():
        producer.produce(sandbox.domain.topic, row["value"], row["key"], row["partition"])
    assert producer.flush(60) == 0
    assert Log(sandbox.settings, sandbox.domain).end() == landed.heads


@contextmanager
def airflow_of(sandbox: Sandbox, servers: Stack, tools: Tools, home: Path, **variables: str) -> Iterator[Stack]:
    """An Airflow of its own, as the demo runs it, at work in a sandbox; its database and logs are in `home`.

    `servers` is the stack whose Kafka, MinIO and store the sandbox uses.
    """
    home.mkdir(exist_ok=True)
    own = {name: value for name, value in sandbox.environment.items() if name.startswith("TIDEMARK_")}
    ports = {name: Ports.free().variables()[name] for name in ("TIDEMARK_PORT_AIRFLOW", "TIDEMARK_PORT_DASHBOARD")}
    lines = [f"{name}={value}\n" for name, value in (servers.variables() | own | ports | variables).items()]
    write_private(home / "settings.env", "".join(lines))
    stack = Stack(home, tools, die_with_parent=True)
    try:
        stack.up(AIRFLOW)
        yield stack
    finally:
        stack.stop()


@contextmanager
def airflow_api(stack: Stack) -> Iterator[httpx.Client]:
    """Airflow's REST API, somebody logged in, once the DAG of the marts is switched on."""
    address, password = stack.parts()["airflow"].address, stack.variables()["TIDEMARK_AIRFLOW_PASSWORD"]
    assert address is not None
    Airflow(address, AIRFLOW_USER, password).unpause(DAG, wait_seconds=90)
    with httpx.Client(base_url=address, timeout=120) as client:
        token = client.post("/auth/token", json={"username": AIRFLOW_USER, "password": password}).json()
        client.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield client


def backfill_runs(client: httpx.Client) -> list[dict]:
    """The runs of backfills, oldest interval first."""
    query: dict[str, str | int] = {"limit": 100, "run_type": "backfill", "order_by": "logical_date"}
    found: list[dict] = client.get(f"/api/v2/dags/{DAG}/dagRuns", params=query).raise_for_status().json()["dag_runs"]
    return found


def views_of(sandbox: Sandbox) -> list[str]:
    """Whatever has tiles: the stored views and the quarantine."""
    return [name for name in Kernel(sandbox.domain).names if name != COUNTS]


def mart(sandbox: Sandbox, view: str) -> MartSnapshot:
    kernel = Kernel(sandbox.domain)
    return Mart(
        sandbox.settings, sandbox.domain.name, view, kernel.schema(view), kernel.definition_hash(view)
    ).snapshot()


def slices(tiles: Sequence[Manifest]) -> list[tuple]:
    """What each tile covers, in time and in offsets."""
    return [(tile.t0, tile.t1, tile.cut_start, tile.cut_end) for tile in tiles]


def check_tiles(sandbox: Sandbox, ends: Sequence[datetime]) -> int:
    """Each view has one tile for each slice up to `ends`, between raw's cuts, with the kernel's states of just those
    records; how many rows were compared."""
    raw, kernel, compared = Raw(sandbox.settings, sandbox.domain), Kernel(sandbox.domain), 0
    cuts = [raw.cut(t) for t in (EPOCH, *ends)]
    for view in views_of(sandbox):
        built = mart(sandbox, view)
        times = pairwise([EPOCH, *ends])
        assert slices(built.tiles) == [(*span, *cut) for span, cut in zip(times, pairwise(cuts), strict=True)], view
        for (start, end), states in zip(pairwise(cuts), built.states, strict=True):
            expected = kernel.merge(view, [kernel.run(part)[view] for part in raw.scan(start, end)])
            assert kernel.merge(view, [states]).equals(expected), view
            compared += len(expected)
    return compared
