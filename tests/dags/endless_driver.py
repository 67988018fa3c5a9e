"""A Spark driver that says that it has begun, and never ends by itself."""

from __future__ import annotations

import sys

from pyspark.java_gateway import launch_gateway

jvm = launch_gateway().proc
print(f"begun {jvm.pid}", file=sys.stderr, flush=True)
jvm.wait()
