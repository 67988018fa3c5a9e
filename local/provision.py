"""What must be there before anything flows: the bucket, the domain's topic, its raw table, a live version of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from minio import Minio

from lake.domain import Domain, load_domain
from lake.errors import BadDomain, LogRecreated, exit_on_error
from lake.log import Log
from lake.raw import Raw
from lake.registry import Registry
from lake.restore import restore as restore_topic
from lake.settings import Settings, load_settings
from lake.tables import open_table
from local.await_provision import await_servers
from local.identities import create_identities
from local.kafka_users import create_users


def provision(settings: Settings, domain: Domain, restoring: bool = False) -> None:
    """Make whatever of it is missing; what exists is left as it is.

    `restoring`: a topic that is not raw's goes on where raw ends; raises RestoreRefused. Without it, no topic is made
    beside a raw that came from another, for producers begin once there is a topic: raises LogRecreated.
    """
    create_bucket(settings)
    log, raw = Log(settings, domain), Raw(settings, domain)
    if restoring:
        restore_topic(settings, domain, _say)
    elif (table := open_table(settings, raw.uri)) and not log.exists():
        raise LogRecreated(
            f"raw/{domain.name} was landed from a topic with id {raw.topic_id(table)}, but there is no topic "
            f"'{domain.topic}'. Is this the right Kafka? If it is a new one, run `tidemark restore {domain.name}` "
            "(in the chart: provision.restore=true): its offsets go on where raw ends then"
        )
    log.create_topic()
    raw.create(log.topic_id())
    _declare(Registry(settings), domain)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _declare(registry: Registry, domain: Domain) -> None:
    """Take over the domain's file where that changes nothing that is stored; else say what to do, and go on without."""
    live = registry.live(domain.name)
    if live is None:
        registry.declare(domain)
    elif live.domain != domain:
        try:
            if not registry.same_states(live.domain, domain):
                raise BadDomain(f"it changes what is stored; run `tidemark redefine {domain.name}`")
            registry.declare(domain)
        except BadDomain as problem:
            print(f"version {live.number} of {domain.name} stays live, its file differs: {problem}", file=sys.stderr)


def create_bucket(settings: Settings) -> None:
    endpoint = urlsplit(settings.s3_endpoint)
    client = Minio(
        endpoint.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=endpoint.scheme == "https",
    )
    if not client.bucket_exists(settings.bucket):
        client.make_bucket(settings.bucket)


def main(
    domain: Annotated[list[str], typer.Option(help="A domain that runs; may be given again.")],
    wait_seconds: Annotated[float, typer.Option(help="How long to wait for the servers.")] = 60,
    users: Annotated[Path | None, typer.Option(help="A folder of Kafka's users with passwords and rights.")] = None,
    identities: Annotated[Path | None, typer.Option(help="A folder of identities with keys and policies.")] = None,
    restore: Annotated[bool, typer.Option("--restore", help="Let new topics go on where an old raw ends.")] = False,
) -> None:
    """Make what some domains need, once their servers answer."""
    with exit_on_error():
        settings = load_settings()
        await_servers(settings, wait_seconds)
        if users is not None:
            create_users(settings, users)
        create_bucket(settings)
        if identities is not None:
            create_identities(settings, identities)
        for name in domain:
            provision(settings, load_domain(name, settings.domains_dir), restore)
            _say(f"{name}: its topic, its raw table and a live version are there")


if __name__ == "__main__":
    typer.run(main)
