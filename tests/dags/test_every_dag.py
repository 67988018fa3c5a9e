"""The DAGs run against the real stack, one after another as an operator would, and each does what it is for.

Those that tidy and erase need days that are past: test_upkeep.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from dags.masking import secrets_of
from dags.request import EVERY
from lake.cuts import EPOCH, epoch_ms, format_time, from_ms, segment_start
from lake.dimensions import Dimensions
from lake.domain import load_domain
from lake.kernel import QUARANTINE, Kernel
from lake.log import Log
from lake.marts import manifests, mart_uri
from lake.raw import Raw
from lake.settings import Settings
from lake.tables import open_table
from lake.yaml_file import read_yaml
from tests.conftest import Sandbox
from tests.dags.dag_runs import run_dags
from tests.dags.webhook import Webhook
from tests.faults.parts import VIEWS, Worker, run
from tests.streaming.routes import declare

EVENTS = 2000


@dataclass
class Told:
    """What all runs came to, by their names, what was posted meanwhile, and everything that was printed or logged."""

    sandbox: Sandbox
    other: str
    t1: datetime
    outcomes: dict[str, dict] = field(default_factory=dict)
    posted: list[dict] = field(default_factory=list)
    logs: str = ""


@pytest.fixture(scope="module")
def told(make_sandbox, airflow_environment, tmp_path_factory) -> Iterator[Told]:
    """Landed events of one domain, another of which nothing but markers is landed, and a run of each DAG."""
    folder, webhook = tmp_path_factory.mktemp("runs"), Webhook()
    sandbox = make_sandbox(base=_two_views(folder))
    name, other = sandbox.domain.name, declare(sandbox.settings, "other").domain
    environment = sandbox.environment | airflow_environment
    environment |= {"TIDEMARK_ALERT_WEBHOOK": webhook.url, "TIDEMARK_DASHBOARD_URL": "http://dashboard"}
    users = folder / "users.csv"
    users.write_text("key,country,tier\nu1,DE,gold\n")
    workers = [Worker("streaming.land", each, environment, folder / f"{each}.log") for each in (name, other.name)]
    for worker in workers:
        worker.start()
    try:
        run(environment, "streaming.produce", "--domain", name, "--like", "shop", "--count", str(EVENTS))
        log = Log(sandbox.settings, sandbox.domain)
        raw = Raw(sandbox.settings, sandbox.domain)
        landed = raw.scan({}, log.end(), raw.await_positions(log.end(), 60))
        [(subject, _)] = Counter(key.decode() for rows in landed for key in rows["key"].to_pylist()).most_common(1)
        t1 = from_ms(segment_start(epoch_ms(datetime.now(UTC)), 10) + 10_000)
        found = Told(sandbox, other.name, t1)
        one = {"domain": name, "t1": format_time(t1)}
        runs = {
            "built": one | {"domain": EVERY},
            "rebuilt by a rerun": one,
            "rebuilt": {"dag": "rebuild_marts", "domain": name, "views": [QUARANTINE], "to": format_time(t1)},
            "loaded": {"dag": "load_dimensions", "dimension": "users", "source": str(users)},
            "verified": {"dag": "verify_views", "domain": EVERY},
            "dry run": {"dag": "forget", "domain": name, "field": "user_id", "value": subject, "reason": "asked to"},
        }
        found.outcomes, done = run_dags(runs, environment)
        print(*(line for line in done.stderr.splitlines() if " after " in line and line.endswith(" s")), sep="\n")
        found.posted = [document for _, document in webhook.posted]
        written = Path(airflow_environment["AIRFLOW_HOME"]).rglob("*.log")
        found.logs = "\n".join([done.stdout, done.stderr, *(path.read_text() for path in written)])
        yield found
    finally:
        webhook.close()
        for worker in workers:
            worker.kill()


def _two_views(folder: Path) -> Path:
    """The shop with two of its views: each costs every build two seconds."""
    declared = read_yaml((Settings().domains_dir / "shop.yaml").read_text()).data
    declared["views"] = {name: declared["views"][name] for name in VIEWS}
    (folder / "kiosk.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    return folder / "kiosk.yaml"


def test_a_run_builds_every_view_of_every_domain_and_a_rerun_of_one_replaces_it(told):
    sandbox, name = told.sandbox, told.sandbox.domain.name
    raw = Raw(sandbox.settings, sandbox.domain)
    for outcome, action, names in (("built", "append", {name, told.other}), ("rebuilt by a rerun", "replace", {name})):
        found, each = told.outcomes[outcome], ["success"] * len(names)
        assert found["tasks"] == {"choose": ["success"], "seal": each, "build": each, "publish": each}
        events = {event["uri"]: event for event in found["events"]}
        assert set(events) == {f"s3://{sandbox.settings.bucket}/marts/{domain}" for domain in names}
        event = events[f"s3://{sandbox.settings.bucket}/marts/{name}"]
        assert {tile["action"] for tile in event["extra"]["tiles"]} == {action}
        for view in [*sandbox.domain.stored_views, QUARANTINE]:
            uri = mart_uri(sandbox.settings, name, view, Kernel(sandbox.domain).definition_hash(view))
            [tile] = manifests(open_table(sandbox.settings, uri), sandbox.settings, uri)
            assert (tile.t0, tile.t1, tile.cut_end) == (EPOCH, told.t1, raw.cut(told.t1))
            assert event["extra"]["frontier"][view] == format_time(told.t1)
            assert event["extra"]["rows"][view] == tile.rows > 0
            assert tile.good + tile.quarantined == EVENTS


def test_a_builds_label_says_its_domain_its_slice_and_its_rows(told):
    [label] = told.outcomes["rebuilt by a rerun"]["labels"]["build"]
    [event] = told.outcomes["rebuilt by a rerun"]["events"]
    rows = sum(event["extra"]["rows"].values())
    assert label.startswith(f"{told.sandbox.domain.name}: [1970-01-01T00:00:00Z, {format_time(told.t1)}), {rows} rows")


@pytest.mark.parametrize(
    ("outcome", "tasks"),
    [
        ("rebuilt", ["choose", "rebuild"]),
        ("loaded", ["choose_dimensions", "load"]),
        ("dry run", ["forget"]),
    ],
)
def test_a_run_of_every_other_dag_succeeds_and_hands_on_its_programs_result(told, outcome, tasks):
    found = told.outcomes[outcome]
    assert found["tasks"] == {task: ["success"] for task in tasks}
    assert isinstance(found["results"][tasks[-1]][0], dict)


def test_a_rebuild_says_how_many_tiles_were_wrong_before(told):
    assert told.outcomes["rebuilt"]["labels"]["rebuild"] == [f"{told.sandbox.domain.name}: 1 tiles, 0 were wrong"]


def test_a_dimension_is_loaded_and_its_label_says_its_version(told):
    assert told.outcomes["loaded"]["labels"]["load"] == ["users: version 1, 1 rows"]
    assert Dimensions(told.sandbox.settings).newest("users") == 1


def test_a_dry_run_erases_nothing(told):
    [label] = told.outcomes["dry run"]["labels"]["forget"]
    assert re.search(r"[1-9]\d* records would be erased", label)
    raw = Raw(told.sandbox.settings, told.sandbox.domain)
    keys = [key for rows in raw.scan({}, raw.cut(told.t1)) for key in rows["key"].to_pylist()]
    assert len(keys) >= EVENTS and None not in keys


def test_a_verification_that_compares_nothing_fails_loudly_and_stops_no_other_domain(told):
    verified, names = told.outcomes["verified"], sorted([told.sandbox.domain.name, told.other])
    states = dict(zip(names, verified["tasks"]["verify"], strict=True))
    assert verified["state"] == "failed"
    assert states == {told.sandbox.domain.name: "success", told.other: "failed"}
    [alert] = [document for document in told.posted if document["dag"] == "verify_views"]
    assert (alert["task"], alert["domain"]) == ("verify", told.other)
    assert "nothing was compared" in alert["error"]
    assert "/dags/verify_views/runs/" in alert["url"]


def test_only_what_failed_was_told_of(told):
    assert [(document["dag"], document["task"]) for document in told.posted] == [("verify_views", "verify")]


def test_no_log_holds_a_secret(told):
    settings = told.sandbox.settings
    assert load_domain(told.sandbox.domain.name, settings.domains_dir).topic in told.logs
    hidden = [*secrets_of(settings), "not-for-you"]
    assert len(hidden) >= 3
    assert [secret for secret in hidden if secret in told.logs] == []
