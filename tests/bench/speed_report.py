"""What was measured of the speed layer, as a table for people and as named figures: medians, the spread in brackets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from tests.bench.batch_report import Known, markdown, spread

_QUERY = ("cold_ms", "p50_ms", "p99_ms", "max_ms", "cpu_ms_per_query", "queries_per_second", "error")
_FRESH = ("p50_ms", "p99_ms", "max_ms", "store_p50_ms", "store_p99_ms", "error")


def figures(known: Known) -> dict[str, float]:
    """Every figure, by a name that says what it is."""
    found: dict[str, float] = {}
    for part in ("catchup", "landing"):
        cells = {_named(told["arm"]): told for told in known.get(part, {}).values() if told["seconds"]}
        for name, told in cells.items():
            found[f"{part}_{name}_events_per_cpu_second"] = median(told["events_per_cpu_second"])
            found[f"{part}_{name}_peak_gib"] = round(told["peak_bytes"] / 2**30, 2)
            found[f"{part}_{name}_error"] = max(error["share"] for error in told["errors"])
            if name != "ours" and "ours" in cells:
                ratio = median(cells["ours"]["events_per_cpu_second"]) / median(told["events_per_cpu_second"])
                found[f"{part}_ours_over_{name}"] = round(ratio, 3)
    for cell, told in known.get("growth", {}).items():
        if told["seconds"]:
            found[f"growth_{_named(cell)}_events_per_cpu_second"] = median(told["events_per_cpu_second"])
            found[f"growth_{_named(cell)}_peak_gib"] = round(told["peak_bytes"] / 2**30, 2)
    found |= {f"growth_exponent_{_named(name)}": value for name, value in _exponents(known).items()}
    for cell, told in known.get("freshness", {}).items():
        found |= {f"freshness_{_named(cell)}_{name}": told[name] for name in _FRESH}
    for cell, told in known.get("timecut", {}).items():
        found[f"timecut_{_named(cell)}_error"] = told["error"]
    for told in known.get("query", {}).values():
        found |= {f"query_{told['rows']}_rows_{name}": told[name] for name in _QUERY}
    return found


def table(known: Known) -> str:
    """Everything, in Markdown."""
    parts = {
        "catchup": _arms,
        "landing": _arms,
        "growth": _growth,
        "freshness": _freshness,
        "timecut": _timecut,
        "query": _query,
    }
    return "\n\n".join(parts[name](name, known) for name in parts if name in known)


def _arms(part: str, known: Known) -> str:
    rows = []
    for cell, told in known[part].items():
        said = f"failed: {told['failed'].splitlines()[0]}" if told["failed"] else ""
        measured = [f"{told['events']:,}", *_speeds(told), _error(told["errors"])] if told["seconds"] else [""] * 6
        rows.append([cell if "series" in told else told["arm"], *measured, said])
    return markdown([part, "events", "events/CPU s", "seconds", "CPU s", "peak GiB", "error", ""], rows)


def _growth(part: str, known: Known) -> str:
    lines = [[name, f"{value:.3f}"] for name, value in _exponents(known).items()]
    exponents = markdown(["CPU s of an event by", "exponent"], lines)
    return f"{_arms(part, known)}\n\n{exponents}" if lines else _arms(part, known)


def _freshness(part: str, known: Known) -> str:
    names = ["events", "p50_ms", "p99_ms", "max_ms", "store_p50_ms", "store_p99_ms", "look_p50_ms", "error"]
    rows = [[cell, *(f"{told[name]:,}" for name in names)] for cell, told in known[part].items()]
    return markdown(
        ["append to answer", "events", "p50 ms", "p99 ms", "max ms", "store p50", "store p99", "look p50", "error"],
        rows,
    )


def _timecut(part: str, known: Known) -> str:
    names = ["events", "events_wrong", "cents_wrong", "rows_wrong"]
    rows = [
        [cell, *(f"{told[name]:,}" for name in names), f"{told['error']:.3%}"] for cell, told in known[part].items()
    ]
    return markdown(["seam", "events", "wrong", "cents wrong", "rows wrong", "error"], rows)


def _query(part: str, known: Known) -> str:
    rows = [[cell, *(f"{told[name]:,}" for name in ("queries", *_QUERY))] for cell, told in known[part].items()]
    return markdown(["merged query", "queries", *(name.replace("_", " ") for name in _QUERY)], rows)


def _speeds(told: dict) -> list[str]:
    rates = told["events_per_cpu_second"]
    rate = f"{median(rates):,.0f} ({min(rates):,} to {max(rates):,})"
    return [rate, spread(told["seconds"]), spread(told["cpu_seconds"]), f"{told['peak_bytes'] / 2**30:.2f}"]


def _error(errors: Sequence[dict]) -> str:
    return f"{max(error['share'] for error in errors):.3%}"


def _exponents(known: Known) -> dict[str, float]:
    """The power that the CPU time of an event grows with, least squares over the logarithms, for each series."""
    series: dict[str, list[tuple[float, float]]] = {}
    for told in known.get("growth", {}).values():
        if told["cpu_seconds"]:
            cost = max(median(told["cpu_seconds"]), 1e-3) / told["events"]
            series.setdefault(told["series"], []).append((math.log(told["size"]), math.log(cost)))
    return {name: round(_slope(points), 3) for name, points in series.items() if len(points) > 1}


def _slope(points: Sequence[tuple[float, float]]) -> float:
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def _named(text: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
