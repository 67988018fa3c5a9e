"""Waits until a cut is final: a sensor that is put off between its looks, so that waiting holds no worker.

Invariant: T comes from the run, so it is the same at every look; looks may be killed, repeated or doubled, for a seal
is made of markers and more of them change nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from dags.masking import mask_secrets
from dags.request import BadRequest, read_request
from lake.cuts import Cut, format_time
from lake.domain import Domain
from lake.errors import BadDomain, BadSettings, LogStopped, NotSealed, RawDamaged, TidemarkError
from lake.raw import Raw
from lake.registry import live_domain
from lake.seal import seal
from lake.settings import Settings, load_settings

# The client tells of each connection, a page a look.
logging.getLogger("kafka").setLevel(logging.WARNING)
LOOK_SECONDS = 20.0
"""How long one look waits for the broker and the lander: mostly they need less than two."""


class SealCut(BaseSensorOperator):
    """Succeeds when raw alone gives cut(T), T being the end of the run's slice; its XCom is {domain, t, cut}."""

    template_fields = ("domain",)

    def __init__(self, *, domain: Any, **options: Any) -> None:
        waiting: dict[str, Any] = {
            "mode": "reschedule",
            "poke_interval": timedelta(seconds=10),
            "exponential_backoff": True,
            "max_wait": timedelta(minutes=2),
            "timeout": timedelta(hours=1),
        }
        super().__init__(**waiting | options)
        self.domain = domain
        self._reason = ""

    def execute(self, context: Any) -> Any:
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(f"{error} {self._reason}") from None

    def poke(self, context: Mapping[str, Any]) -> PokeReturnValue:
        settings = load_settings()
        mask_secrets(settings)
        try:
            t = read_request(settings, context).t1
            cut = sealed_cut(settings, live_domain(settings, self.domain), t)
        except BadRequest as error:
            raise AirflowFailException(str(error)) from None
        except (BadSettings, BadDomain, LogStopped, RawDamaged):
            raise
        except (TidemarkError, OSError) as error:  # the broker, the lander or the lake is late, or away
            self._reason = str(error)
            self.log.info("not yet: %s", error)
            return PokeReturnValue(False)
        self.log.info("cut(%s) of %s: %s", format_time(t), self.domain, cut)
        return PokeReturnValue(True, {"domain": self.domain, "t": format_time(t), "cut": cut})


def sealed_cut(settings: Settings, domain: Domain, t: datetime) -> Cut:
    """cut(t), sealed now unless it was before; an old cut needs no broker. Raises NotSealed after LOOK_SECONDS."""
    try:
        return Raw(settings, domain).cut(t)
    except NotSealed:
        patience = min(settings.seal_timeout_seconds, LOOK_SECONDS)
        return seal(settings.model_copy(update={"seal_timeout_seconds": patience}), domain, t)
