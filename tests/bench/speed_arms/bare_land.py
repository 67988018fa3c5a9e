"""The lander's work in a plain loop, `python -m tests.bench.speed_arms.bare_land DOMAIN`: consume, Arrow, delta-rs.

A commit a second, or sooner where the records are many, into the same object store; but nothing in a commit says where
reading is to go on, and nobody else's commit is noticed.
"""

from __future__ import annotations

import sys

from deltalake import write_deltalake

from lake.domain import load_domain
from lake.settings import load_settings
from tests.bench.speed_arms.bare import batch_of, consumer_of

_RECORDS, _SECONDS = 100_000, 1.0


def main() -> None:
    settings = load_settings()
    domain = load_domain(sys.argv[1], settings.domains_dir)
    consumer = consumer_of(settings, domain.topic, dict.fromkeys(range(domain.partitions), 0))
    uri, options = settings.table_uri("bare", domain.name), settings.storage_options()
    while True:
        messages = consumer.consume(_RECORDS, _SECONDS)
        if messages:
            rows = batch_of(messages, dict.fromkeys(range(domain.partitions), 0)).rows
            write_deltalake(uri, rows, mode="append", storage_options=options)


if __name__ == "__main__":
    main()
