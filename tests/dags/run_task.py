"""The process of a task: runs the program that it is told, and logs to stdout what that says."""

from __future__ import annotations

import logging
import sys

from dags.run_module import RunModule

logging.basicConfig(stream=sys.stdout, level=logging.INFO)
RunModule(task_id="task", module=sys.argv[1], domain="shop", arguments=lambda *_: []).execute({})
