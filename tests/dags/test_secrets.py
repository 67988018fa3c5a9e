"""Even a program that prints its secrets does not get them into a log of Airflow's, nor into an alert."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.dags.webhook import Webhook
from tests.faults.parts import ROOT


def test_what_a_careless_program_prints_is_masked_in_the_log_and_in_the_alert(airflow_environment):
    webhook = Webhook()
    secrets = {
        "TIDEMARK_S3_SECRET_KEY": "hunter-222",
        "TIDEMARK_STORE_URL": "redis://:store-pass@127.0.0.1/0",
        "TIDEMARK_ALERT_WEBHOOK": webhook.url,
        "PGPASSWORD": "postgres-pw",
    }
    folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "careless")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.dags.run_dag", json.dumps({"dag": "tests.dags.careless.careless"})],
        cwd=ROOT,
        env=os.environ | airflow_environment | folder | secrets,
        capture_output=True,
        text=True,
        timeout=120,
    )
    webhook.close()
    assert done.returncode == 0, done.stderr[-5000:]
    written = [path.read_text() for path in Path(airflow_environment["AIRFLOW_HOME"]).rglob("*.log")]
    logs = "\n".join([done.stdout, done.stderr, *written])
    assert json.loads(done.stdout.splitlines()[-1])[0]["tasks"] == {"tell": ["failed"]}
    assert "TIDEMARK_S3_SECRET_KEY is ***" in logs
    [(_, alert)] = webhook.posted
    assert "PGPASSWORD is ***" in alert["error"]
    told = logs + json.dumps(alert)
    assert [secret for secret in (*secrets.values(), "store-pass") if secret in told] == []
