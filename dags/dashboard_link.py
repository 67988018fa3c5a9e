"""The button on a task that opens the dashboard."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink

from lake.settings import load_settings


class DashboardLink(BaseOperatorLink):
    @property
    def name(self) -> str:
        return "Dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return load_settings().dashboard_url
