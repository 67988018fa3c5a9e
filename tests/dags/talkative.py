"""A program whose JVM logs to the stdout that both have, before and after the result; told `silent`, it has none."""

from __future__ import annotations

import json
import subprocess
import sys


def start_jvm() -> None:
    subprocess.run(["java", "-Xlog:gc", "-version"], check=True)


start_jvm()
if "silent" not in sys.argv:
    print(json.dumps({"domain": "shop"}), flush=True)
start_jvm()
