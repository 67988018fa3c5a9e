"""Waits until the servers answer and `local.provision` has made what the programs of some domains read.

Invariant: it changes nothing, and says what is missing, each time that this changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import typer
from deltalake.exceptions import DeltaError

from lake.domain import Domain, load_domain
from lake.errors import TidemarkError, exit_on_error, explain
from lake.kafka_clients import librdkafka_options
from lake.log import Log
from lake.raw import Raw
from lake.registry import Registry
from lake.settings import Settings, load_settings
from lake.tables import open_table
from lake.waiting import wait_until
from local import health

_PAUSE_SECONDS = 2.0


def await_servers(settings: Settings, wait_seconds: float) -> None:
    """Until Kafka, lake and store answer. Raises TidemarkError with the one that does not."""
    url = settings.store_url.get_secret_value()
    asked: list[Callable[[], str | None]] = [
        lambda: health.kafka(librdkafka_options(settings)),
        lambda: health.reachable(settings.s3_endpoint),
        lambda: health.store(url),
    ]
    _await(asked, wait_seconds)


def missing_topic(settings: Settings, domain: Domain) -> str | None:
    """Why there is nothing to read or write; None if there is."""
    if problem := health.kafka(librdkafka_options(settings)):
        return problem
    log = Log(settings, domain)
    if not log.exists():
        return f"topic '{domain.topic}' is not there yet"
    return None if log.has_append_time() else f"topic '{domain.topic}' is not ready: it is being restored"


def missing_raw(settings: Settings, domain: Domain) -> str | None:
    """Why the topic and raw do not belong together; None if they do. That they do is the last step of a restore."""
    raw = Raw(settings, domain)
    try:
        table = open_table(settings, raw.uri)
    except OSError as error:
        return explain(error)
    except DeltaError as error:
        return f"{settings.s3_endpoint}: {error}"
    if table is None:
        return f"raw/{domain.name} is not there yet"
    if raw.topic_id(table) != Log(settings, domain).topic_id():
        return f"raw/{domain.name} was landed from another topic than '{domain.topic}', which waits for a restore"
    return None


def missing_version(settings: Settings, domain: Domain) -> str | None:
    """Why no version of the domain is live; None if one is. It is the last that provision makes."""
    try:
        return None if Registry(settings).live(domain.name) else f"no version of '{domain.name}' is live yet"
    except OSError as error:
        return explain(error)
    except DeltaError as error:
        return f"{settings.s3_endpoint}: {error}"


def _await(asked: Sequence[Callable[[], str | None]], wait_seconds: float) -> None:
    told = ""

    def look() -> bool | None:
        nonlocal told
        try:
            problem = next(filter(None, (ask() for ask in asked)), None)
        except TidemarkError as error:
            problem = str(error)
        if problem and problem != told:
            told = problem
            print(f"waiting: {problem}", file=sys.stderr, flush=True)
        return None if problem else True

    wait_until(look, wait_seconds, _PAUSE_SECONDS, lambda: TidemarkError(f"after {wait_seconds:.0f} s: {told}"))


def main(
    domain: Annotated[list[str], typer.Option(help="A domain that is waited for; may be given again.")],
    wait_seconds: Annotated[float, typer.Option(help="How long, before it fails.")] = 600,
    topics_only: Annotated[bool, typer.Option(help="Ask Kafka alone, without keys to the lake.")] = False,
) -> None:
    """Wait until these domains are provisioned."""
    with exit_on_error():
        settings = load_settings()
        domains = [load_domain(name, settings.domains_dir) for name in domain]
        looks = [missing_topic] if topics_only else [missing_topic, missing_raw, missing_version]
        asked = [partial(look, settings, each) for look in looks for each in domains]
        _await(asked, wait_seconds)


if __name__ == "__main__":
    typer.run(main)
