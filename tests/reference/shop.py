"""The views of `shop`: revenue and its corrections, baskets, visitors, the funnel, who is logged in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from tests.reference.events import DAY_MS, HOUR_MS, MINUTE_MS, Event, floor, grouped, last, moment, rounded
from tests.reference.sketches import estimate, log_buckets, quantile, register_and_rank, registers


class Reference:
    """States of good events, added one by one; sums and counts need no order."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.revenue: dict[tuple[str, int], list] = {}
        self.visitors: dict[tuple[str | None, int], list] = {}
        self._touched: dict[str, set] = {"revenue_by_country_hour": set(), "visitors_by_page_minute": set()}
        self._states: dict[str, dict[tuple, tuple]] = {view: {} for view in self._touched}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        if event["event_type"] == "order":
            key = (event["country"], event["event_time"] // HOUR_MS * HOUR_MS)
            state = self.revenue.setdefault(key, [None, 0])
            if event.get("amount") is not None:
                state[0] = (state[0] or Decimal(0)) + Decimal(str(event["amount"]))
            state[1] += 1
            self._touched["revenue_by_country_hour"].add(key)
        if event["event_type"] == "page_view":
            page_key = (event.get("page"), event["event_time"] // MINUTE_MS * MINUTE_MS)
            state = self.visitors.setdefault(page_key, [0, {}])
            state[0] += 1
            register, rank = register_and_rank(event["user_id"])
            state[1][register] = max(rank, state[1].get(register, 0))
            self._touched["visitors_by_page_minute"].add(page_key)

    def states(self, view: str) -> dict[tuple, tuple]:
        """key -> state of every row, in the kernel's types; not to be changed. Costs what was added since last time."""
        states, touched = self._states[view], self._touched[view]
        for name, ms in touched:
            if view == "revenue_by_country_hour":
                states[name, moment(ms)] = tuple(self.revenue[name, ms])
            else:
                count, highest = self.visitors[name, ms]
                states[name, moment(ms)] = (count, [register << 6 | rank for register, rank in sorted(highest.items())])
        touched.clear()
        return states


def _of(events: Iterable[Event], *kinds: str) -> list[Event]:
    return [e for e in events if e["event_type"] in kinds]


def _amounts(events: Iterable[Event], kind: str) -> list[Decimal]:
    return [Decimal(e["amount"]) for e in _of(events, kind)]


def _orders_by_hour(events: Iterable[Event]) -> dict[tuple, list[Decimal]]:
    groups = grouped(_of(events, "order"), lambda e: (e["country"], floor(e["event_time"], HOUR_MS)))
    return {key: _amounts(group, "order") for key, group in groups.items()}


def _net_states(events: Iterable[Event]) -> dict[tuple, tuple]:
    groups = grouped(_of(events, "order", "refund"), lambda e: (e["country"], floor(e["event_time"], DAY_MS)))
    states = {}
    for key, group in groups.items():
        paid, paid_back = _amounts(group, "order"), _amounts(group, "refund")
        states[key] = (sum(paid) or None, sum(paid_back) or None, len(paid), len(paid_back))
    return states


def _net(events: Iterable[Event]) -> list[dict]:
    return [
        {
            **{"country": country, "day": day, "gross": gross, "refunded": refunded},
            **{"orders": orders, "refunds": refunds, "net": (gross or 0) - (refunded or 0)},
            "refund_rate": rounded(refunds / orders, 4) if orders else None,
        }
        for (country, day), (gross, refunded, orders, refunds) in _net_states(events).items()
    ]


def _funnel_states(events: Iterable[Event]) -> dict[tuple, tuple]:
    steps = ("page_view", "basket_add", "order")
    groups = grouped(_of(events, *steps), lambda e: (floor(e["event_time"], HOUR_MS),))
    return {key: tuple(len(_of(group, step)) for step in steps) for key, group in groups.items()}


def _funnel(events: Iterable[Event]) -> list[dict]:
    return [
        {
            **{"hour": hour, "page_views": views, "basket_adds": baskets, "orders": orders},
            "basket_rate": rounded(baskets / views, 4) if views else None,
            "order_rate": rounded(orders / baskets, 4) if baskets else None,
            "conversion": rounded(orders / views, 4) if views else None,
        }
        for (hour,), (views, baskets, orders) in _funnel_states(events).items()
    ]


def _login_states(events: Iterable[Event]) -> dict[tuple, tuple]:
    logins = [e | {"home": e.get("users.country") or e["country"]} for e in _of(events, "login", "logout")]
    return {
        key: (last(group, "event_type"), moment(max(e["event_time"] for e in group)), last(group, "home"))
        for key, group in grouped(logins, lambda e: (e["user_id"],)).items()
    }


def _last_logins(events: Iterable[Event]) -> list[dict]:
    return [
        {"user_id": user, "last_event": event["value"], "at": at, "country": country["value"]}
        for (user,), (event, at, country) in _login_states(events).items()
    ]


def _logged_in(events: Iterable[Event]) -> list[dict]:
    users = Counter(row["country"] for row in _last_logins(events) if row["last_event"] == "login")
    ordered = sorted(users.items(), key=lambda item: (-item[1], item[0]))
    return [{"country": country, "users": number} for country, number in ordered]


def _revenue(events: Iterable[Event]) -> list[dict]:
    return [
        {"country": country, "hour": hour, "revenue": sum(amounts), "orders": len(amounts)}
        for (country, hour), amounts in _orders_by_hour(events).items()
    ]


def _page_views(events: Iterable[Event]) -> dict[tuple, list[Event]]:
    return grouped(_of(events, "page_view"), lambda e: (e["page"], floor(e["event_time"], MINUTE_MS)))


def _visitors(events: Iterable[Event]) -> list[dict]:
    return [
        {"page": page, "minute": minute, "page_views": len(group), "visitors": estimate(e["user_id"] for e in group)}
        for (page, minute), group in _page_views(events).items()
    ]


def _baskets(events: Iterable[Event]) -> list[dict]:
    return [
        {
            **{"country": country, "hour": hour, "orders": len(amounts)},
            **{f"basket_p{share * 100:.0f}": quantile(amounts, share) for share in (0.5, 0.9, 0.99)},
        }
        for (country, hour), amounts in _orders_by_hour(events).items()
    ]


STATES = {
    "revenue_by_country_hour": lambda events: {
        key: (sum(amounts), len(amounts)) for key, amounts in _orders_by_hour(events).items()
    },
    "visitors_by_page_minute": lambda events: {
        key: (len(group), registers(e["user_id"] for e in group)) for key, group in _page_views(events).items()
    },
    "baskets_by_country_hour": lambda events: {
        key: (len(amounts), log_buckets(amounts)) for key, amounts in _orders_by_hour(events).items()
    },
    "net_revenue_by_country_day": _net_states,
    "funnel_by_hour": _funnel_states,
    "last_login_by_user": _login_states,
}
ROWS = {
    "revenue_by_country_hour": _revenue,
    "visitors_by_page_minute": _visitors,
    "baskets_by_country_hour": _baskets,
    "net_revenue_by_country_day": _net,
    "funnel_by_hour": _funnel,
    "last_login_by_user": _last_logins,
    "logged_in_by_country": _logged_in,
}
APPROXIMATE = {"basket_p50": 1 / 128, "basket_p90": 1 / 128, "basket_p99": 1 / 128}
"""How far off a column may be, relatively."""
