"""What the demo shows of each shipped domain: how many events, the dimension that joins them, and one question.

Invariant: a domain that is not in here runs all the same; nobody invents events for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from lake.domain import load_domain
from lake.errors import BadSettings
from lake.expressions import nearest
from lake.settings import Settings

ALL, DEFAULT = "all", "shop"


@dataclass(frozen=True)
class Shown:
    """One domain in the demo."""

    question: str
    dimension: str | None = None
    backlog: int = 100_000
    events_per_second: int = 500
    """Of the live events, where no other domain runs."""


SHOWCASE = {
    "shop": Shown(
        """
select country, sum(revenue) as revenue, sum(orders) as orders,
       sum(batch) as orders_from_batch, sum(speed) as orders_from_speed
from (select country, revenue, orders, 0 as batch, 0 as speed from revenue_by_country_hour
      union all select country, 0, 0, orders, 0 from marts.revenue_by_country_hour
      union all select country, 0, 0, 0, orders from speed.revenue_by_country_hour)
group by country order by revenue desc
""",
        dimension="users",
        backlog=1_000_000,
        events_per_second=2000,
    ),
    "stocks": Shown("select * from candles_by_day order by day desc, turnover desc limit 8"),
    "hashtags": Shown("select * from trending_by_hour order by hour desc, uses desc limit 10"),
    "plates": Shown("select * from watchlist_hits order by last_seen desc limit 10", dimension="watchlist"),
    "documents": Shown("select * from top_words order by uses desc limit 10"),
}


def chosen_domains(settings: Settings, names: str) -> list[str]:
    """The domains of `shop,stocks`, or of `all`, those of the demo first. Raises BadSettings for one that is not."""
    declared = [path.stem for path in sorted(settings.domains_dir.glob("*.yaml"))]
    wanted = declared if names == ALL else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in declared:
            raise BadSettings(f"'{name}' is no domain of {settings.domains_dir}; {nearest(name, declared)}, or {ALL}")
    order = [*SHOWCASE, *declared]
    return sorted(dict.fromkeys(wanted), key=order.index)


def routed_domains(settings: Settings, names: list[str]) -> list[str]:
    """Those of the domains whose events come from others. Raises BadSettings if one of these does not run."""
    routed = []
    for name in names:
        sources = {source.domain for source in load_domain(name, settings.domains_dir).sources}
        if missing := sources - set(names):
            raise BadSettings(f"domain '{name}' is fed by {', '.join(sorted(missing))}: run that, too")
        routed += [name] if sources else []
    return routed
