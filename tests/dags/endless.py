"""A program that says that it has begun, and never ends by itself; it has a child, as Spark has."""

from __future__ import annotations

import subprocess
import sys

child = subprocess.Popen(["sleep", "600"])
print(f"begun {child.pid}", file=sys.stderr, flush=True)
child.wait()
