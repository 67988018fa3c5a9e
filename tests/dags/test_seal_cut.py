"""The sensor of a seal is put off while the log or raw is late, and succeeds with the one cut there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dags import seal_cut
from dags.seal_cut import SealCut
from lake.cuts import epoch_ms, format_time, from_ms, segment_start
from lake.log import Log
from lake.raw import Raw
from tests.faults.parts import Worker, run


@pytest.fixture
def domain(sandbox, monkeypatch) -> str:
    """The sandbox is what the environment names; raw is made, nobody lands."""
    for name, value in sandbox.environment.items():
        if name.startswith("TIDEMARK_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(seal_cut, "LOOK_SECONDS", 0.5)
    Raw(sandbox.settings, sandbox.domain).create(Log(sandbox.settings, sandbox.domain).topic_id())
    return sandbox.domain.name


@pytest.fixture
def lander(sandbox, domain, tmp_path) -> Iterator[Worker]:
    """Not started yet."""
    worker = Worker("streaming.land", domain, sandbox.environment, tmp_path / "lander.log")
    yield worker
    if worker.process is not None:
        worker.kill()


def _sensor(domain: str) -> SealCut:
    return SealCut(task_id="seal", domain=domain, max_wait=timedelta(seconds=1))


def _run(t: datetime | None = None) -> dict:
    """The context of a manual run that was triggered now."""
    run = SimpleNamespace(run_type="manual", run_after=datetime.now(UTC))
    return {"params": {"t0": None, "t1": t and format_time(t)}, "dag_run": run}


def test_waiting_holds_no_worker():
    sensor = _sensor("shop")
    assert sensor.reschedule
    assert sensor.timeout == 3600


def test_a_seal_waits_for_the_lander_and_its_cut_is_that_of_the_run_however_often_it_looked(sandbox, domain, lander):
    sensor, context, raw = _sensor(domain), _run(), Raw(sandbox.settings, sandbox.domain)
    run(sandbox.environment, "streaming.produce", "--domain", domain, "--like", "shop", "--count", "100")
    assert [sensor.poke(context).is_done for _ in range(2)] == [False, False]
    lander.start()
    for _ in range(100):
        found = sensor.poke(context)
        if found.is_done:
            break
    t = from_ms(segment_start(epoch_ms(context["dag_run"].run_after), sandbox.settings.segment_seconds))
    assert found.xcom_value == {"domain": domain, "t": format_time(t), "cut": raw.cut(t)}
    assert sensor.poke(context).xcom_value == found.xcom_value


def test_a_cut_that_was_sealed_needs_neither_broker_nor_lander(sandbox, domain, lander, monkeypatch):
    context = _run()
    lander.start()
    monkeypatch.setattr(seal_cut, "LOOK_SECONDS", 60)
    cut = _sensor(domain).poke(context)
    assert cut.is_done
    lander.kill()
    monkeypatch.setenv("TIDEMARK_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert _sensor(domain).poke(context).xcom_value == cut.xcom_value


def test_a_time_that_lies_ahead_or_a_lake_that_is_away_is_waited_for(domain, monkeypatch):
    ahead = from_ms(segment_start(epoch_ms(datetime.now(UTC)), 10)) + timedelta(minutes=10)
    assert not _sensor(domain).poke(_run(ahead)).is_done
    monkeypatch.setenv("TIDEMARK_S3_ENDPOINT", "http://127.0.0.1:1")
    assert not _sensor(domain).poke(_run()).is_done


def test_what_can_never_be_sealed_is_not_waited_for(domain):
    within = datetime(2026, 11, 21, 9, 0, 5, tzinfo=UTC)
    with pytest.raises(AirflowFailException, match="lies within a segment of 10 s"):
        _sensor(domain).poke(_run(within))
