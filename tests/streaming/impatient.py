"""A process of ours that waits ten seconds for an answer, not up to a minute, before it takes a server for away.

`python -m tests.streaming.impatient --domain ... MODULE`, so that a freeze need not be longer to outlast all of them.
"""

from __future__ import annotations

import runpy
import sys

from lake import kafka_clients
from lake.settings import Settings

SECONDS = 10
"""The store is waited for as long in any case, and Beam's worker asks its runner every 20 s."""


def shorten() -> None:
    options, storage = kafka_clients.librdkafka_options, Settings.storage_options
    kafka_clients.librdkafka_options = lambda settings: options(settings) | {"socket.timeout.ms": SECONDS * 1000}
    Settings.storage_options = lambda settings: storage(settings) | {"timeout": f"{SECONDS}s"}

    from streaming import topic  # which has taken over the options by then

    topic.TopicWatch.__init__.__defaults__ = (SECONDS, None)


if __name__ == "__main__":
    shorten()
    runpy.run_module(sys.argv.pop(), run_name="__main__", alter_sys=True)
