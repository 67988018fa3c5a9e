"""A DAG as careless as can be: its program prints every secret that it was given, and fails."""

from __future__ import annotations

from airflow.sdk import DAG

from dags.forms import TRIES
from dags.program import of_domain
from dags.submit import submit

with DAG(dag_id="careless", schedule=None, default_args=TRIES) as dag:
    submit(task_id="tell", module="tests.dags.careless.tell", domain="shop", arguments=of_domain, spark=False)
