"""Types that do not fit in a domain, found by compiling its views over no events.

Invariant: a domain without any is compiled by every carrier.
"""

from __future__ import annotations

from lake.domain import Domain
from lake.domain_errors import Mistake
from lake.errors import BadDomain
from lake.kernel import Kernel


def type_mistakes(domain: Domain) -> list[Mistake]:
    """The first of each view; a view over one with a mistake is not looked at."""
    if not (first := _mistake(domain)):
        return []
    found: dict[str, Mistake] = {}
    for name in domain.views:
        below: str | None = name
        views = {}
        while below is not None:
            views[below] = domain.views[below]
            below = domain.views[below].over
        if not found.keys() & views.keys() and (mistake := _mistake(domain.model_copy(update={"views": views}))):
            found[str(mistake.path[1])] = mistake
    return list(found.values()) or [first]


def _mistake(domain: Domain) -> Mistake | None:
    try:
        Kernel(domain)
    except BadDomain as error:
        return error.mistake or Mistake((), str(error))
    return None
