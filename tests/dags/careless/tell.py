"""Prints the secrets in its environment, on both streams, and fails."""

from __future__ import annotations

import os
import sys

for stream in (sys.stdout, sys.stderr):
    for name in ("TIDEMARK_S3_SECRET_KEY", "TIDEMARK_STORE_URL", "TIDEMARK_ALERT_WEBHOOK", "PGPASSWORD"):
        print(f"{name} is {os.environ[name]}", file=stream)
sys.exit(3)
