"""What was measured of the speed layer, as a table for people and as named figures: medians, the spread in brackets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from tests.bench.batch_report import Known, markdown, spread

_SPEEDS = ("events_per_cpu_second", "events_per_second", "seconds", "cpu_seconds")
_WRONG = ("events_wrong", "cents_wrong", "rows_wrong")
_FRESH = ("p50_ms", "p99_ms", "max_ms", "store_p50_ms", "store_p99_ms", "look_p50_ms", "look_p99_ms")
_QUERY = ("cold_ms", "p50_ms", "p99_ms", "max_ms", "cpu_ms_per_query", "queries_per_second")


def figures(known: Known) -> dict[str, float]:
    """Every figure, by a name that says what it is: the median of its runs, but of peaks and errors the largest."""
    found: dict[str, float] = {}
    for part in ("catchup", "landing", "growth"):
        for cell, told in _measured(known, part).items():
            name = f"{part}_{_named(cell if part == 'growth' else told['arm'])}"
            found |= {f"{name}_{figure}": median(told[figure]) for figure in _SPEEDS}
            found[f"{name}_peak_gib"] = round(max(told["peak_bytes"]) / 2**30, 2)
            found[f"{name}_error"] = max(told["error"])
    for part in ("catchup", "landing"):
        cells = {_named(told["arm"]): told for told in _measured(known, part).values()}
        for name, told in cells.items():
            if name != "ours" and "ours" in cells:
                ratio = median(cells["ours"]["events_per_cpu_second"]) / median(told["events_per_cpu_second"])
                found[f"{part}_ours_over_{name}"] = round(ratio, 3)
    found |= {f"growth_exponent_{_named(name)}": value for name, value in _exponents(known).items()}
    for cell, told in _measured(known, "freshness").items():
        found |= {f"freshness_{_named(cell)}_{name}": median(told[name]) for name in _FRESH}
        found[f"freshness_{_named(cell)}_error"] = max(told["error"])
    for cell, told in known.get("timecut", {}).items():
        found |= {f"timecut_{_named(cell)}_{name}": told[name] for name in (*_WRONG, "error")}
    for told in _measured(known, "query").values():
        found |= {f"query_{told['rows']}_rows_{name}": median(told[name]) for name in _QUERY}
        found[f"query_{told['rows']}_rows_error"] = max(told["error"])
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
    rows = [
        [told["arm"], f"{told['events']:,}", *_spreads(told, _SPEEDS), _peak(told), _error(told), _failed(told)]
        for told in known[part].values()
    ]
    head = [part, "events", "events/CPU s", "events/s", "seconds", "CPU s", "peak GiB", "error", ""]
    return markdown(head, rows)


def _growth(part: str, known: Known) -> str:
    lines = [[name, f"{value:.3f}"] for name, value in _exponents(known).items()]
    exponents = markdown(["CPU s of an event by", "exponent"], lines)
    return f"{_arms(part, known)}\n\n{exponents}" if lines else _arms(part, known)


def _freshness(part: str, known: Known) -> str:
    rows = [[cell, *_spreads(told, _FRESH), _error(told), _failed(told)] for cell, told in known[part].items()]
    return markdown(["append to answer", *(name.replace("_", " ") for name in _FRESH), "error", ""], rows)


def _timecut(part: str, known: Known) -> str:
    rows = [
        [cell, *(f"{told[name]:,}" for name in ("events", *_WRONG)), f"{told['error']:.3%}"]
        for cell, told in known[part].items()
    ]
    return markdown(["seam", "events", "wrong", "cents wrong", "rows wrong", "error"], rows)


def _query(part: str, known: Known) -> str:
    rows = [[cell, *_spreads(told, _QUERY), _error(told), _failed(told)] for cell, told in known[part].items()]
    return markdown(["merged query", *(name.replace("_", " ") for name in _QUERY), "error", ""], rows)


def _measured(known: Known, part: str) -> dict[str, dict]:
    """The cells of a part that had a run."""
    return {cell: told for cell, told in known.get(part, {}).items() if "error" in told}


def _spreads(told: dict, names: Sequence[str]) -> list[str]:
    """Of each figure its median, least and most; nothing where there was no run."""
    return [_counted(told.get(name, [])) if "events_per" in name else spread(told.get(name, [])) for name in names]


def _counted(values: Sequence[int]) -> str:
    return f"{median(values):,.0f} ({min(values):,} to {max(values):,})" if values else ""


def _peak(told: dict) -> str:
    return f"{max(told['peak_bytes']) / 2**30:.2f}" if "peak_bytes" in told else ""


def _error(told: dict) -> str:
    return f"{max(told['error']):.3%}" if "error" in told else ""


def _failed(told: dict) -> str:
    return f"failed: {told['failed'].splitlines()[0]}" if told["failed"] else ""


def _exponents(known: Known) -> dict[str, float]:
    """The power that the CPU time of an event grows with, least squares over the logarithms, for each series."""
    series: dict[str, list[tuple[float, float]]] = {}
    for told in known.get("growth", {}).values():
        if "cpu_seconds" in told:
            cost = max(median(told["cpu_seconds"]), 1e-3) / told["events"]
            series.setdefault(told["series"], []).append((math.log(told["size"]), math.log(cost)))
    return {name: round(_slope(points), 3) for name, points in series.items() if len(points) > 1}


def _slope(points: Sequence[tuple[float, float]]) -> float:
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def _named(text: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
