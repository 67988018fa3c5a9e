"""What has been measured, as a table for people and as named figures: medians, with the spread in brackets."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil

Known = Mapping[str, Mapping[str, dict]]
"""part -> cell -> figures."""


def machine() -> str:
    """What this was measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 2**30
    processor = models[0] if models else platform.processor()
    return f"{os.cpu_count()} CPUs {processor}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def figures(known: Known) -> dict[str, float]:
    """Every figure that something is promised of, by a name that says what it is."""
    found: dict[str, float] = {}
    slices = known.get("slices", {})
    for cell, told in slices.items():
        for kind in ("warm_seconds", "warm_cpu_seconds", "cold_seconds", "session_seconds"):
            if told[kind]:
                found[f"slice_{cell}_{kind}"] = round(median(told[kind]), 3)
        bare = slices.get(f"{told['events']}x0")
        if bare and told["history"]:
            for kind in ("warm_seconds", "warm_cpu_seconds", "cold_seconds"):
                if told[kind] and bare[kind]:
                    ratio = median(told[kind]) / median(bare[kind])
                    found[f"slice_{cell}_{kind}_over_x0"] = round(ratio, 3)
        if told["peak_bytes"]:
            found[f"slice_{cell}_peak_gib"] = round(told["peak_bytes"] / 2**30, 2)
    for history in sorted({told["history"] for told in slices.values()}):
        for kind in ("warm_seconds", "cold_seconds"):
            cells = [told for told in slices.values() if told["history"] == history and told[kind]]
            points = sorted((told["events"], median(told[kind])) for told in cells)
            if len(points) > 1:
                found[f"exponent_x{history}_{kind}"] = round(max(map(_exponent, points, points[1:])), 3)
    native = {(told["arm"], told["events"]): told for told in known.get("native", {}).values()}
    for (arm, events), told in native.items():
        found[f"{arm}_{events}_events_per_second"] = round(events / median(told["seconds"]))
        found[f"{arm}_{events}_events_per_cpu_second"] = round(events / median(told["cpu_seconds"]))
        found[f"{arm}_{events}_peak_gib"] = round(told["peak_bytes"] / 2**30, 2)
        if arm != "kernel" and ("kernel", events) in native:
            ours = native["kernel", events]
            for kind in ("seconds", "cpu_seconds"):
                found[f"kernel_over_{arm}_{events}_{kind}"] = round(median(told[kind]) / median(ours[kind]), 2)
    for cell, told in known.get("landed", {}).items():
        name = cell.replace(" ", "_")
        found |= {
            f"slice_{name}_{kind}": round(median(told[kind]), 3) for kind in ("build_seconds", "build_cpu_seconds")
        }
    for cell, told in known.get("files", {}).items():
        found |= {f"raw_{cell}_{name}": told[name] for name in ("files", "bytes")}
        found |= {f"raw_{cell}_{name}_seconds": median(told[f"{name}_seconds"]) for name in ("open", "scan")}
        found[f"raw_{cell}_build_seconds"] = told["build_seconds"]
    for cell, told in known.get("start", {}).items():
        name = cell.replace(" ", "_")
        found |= {f"start_{name}_{kind}": median(told[kind]) for kind in told if kind.endswith("seconds")}
    return found


def table(known: Known) -> str:
    """Everything, in Markdown."""
    parts = {"slices": _slices, "native": _native, "landed": _landed, "files": _files, "start": _start}
    return "\n\n".join(parts[name](list(known[name].values()), list(known[name])) for name in parts if name in known)


def _slices(cells: Sequence[dict], names: Sequence[str]) -> str:
    head = ["events", "history", "files", "warm s", "CPU s", "cold s", "of it session", "peak GiB"]
    rows = [
        [
            f"{c['events']:,}",
            f"{c['history']}x",
            str(c["files"]),
            spread(c["warm_seconds"]),
            spread(c["warm_cpu_seconds"]),
            spread(c["cold_seconds"]),
            spread(c["session_seconds"]),
            f"{c['peak_bytes'] / 2**30:.2f}" if c["peak_bytes"] else "",
        ]
        for c in sorted(cells, key=lambda c: (c["events"], c["history"]))
    ]
    return markdown(head, rows)


def _native(cells: Sequence[dict], names: Sequence[str]) -> str:
    head = ["arm", "events", "seconds", "CPU s", "events/s", "events/CPU s", "peak GiB"]
    rows = [
        [
            c["arm"],
            f"{c['events']:,}",
            spread(c["seconds"]),
            spread(c["cpu_seconds"]),
            f"{c['events'] / median(c['seconds']):,.0f}",
            f"{c['events'] / median(c['cpu_seconds']):,.0f}",
            f"{c['peak_bytes'] / 2**30:.2f}",
        ]
        for c in cells
    ]
    return markdown(head, rows)


def _landed(cells: Sequence[dict], names: Sequence[str]) -> str:
    rows = [
        [
            c["slice"],
            f"{c['events']:,}",
            f"{c['files']:,}",
            f"{c['bytes'] / 1e6:.1f}",
            spread(c["build_seconds"]),
            spread(c["build_cpu_seconds"]),
        ]
        for c in cells
    ]
    return markdown(["slice", "events", "files", "MB", "build s", "CPU s"], rows)


def _files(cells: Sequence[dict], names: Sequence[str]) -> str:
    head = ["raw", "files", "MB", "open and list s", "scan s", "build s", "compaction s"]
    rows = [
        [
            name,
            f"{c['files']:,}",
            f"{c['bytes'] / 1e6:.1f}",
            spread(c["open_seconds"]),
            spread(c["scan_seconds"]),
            str(c["build_seconds"]),
            str(c.get("compaction_seconds", "")),
        ]
        for name, c in zip(names, cells, strict=True)
    ]
    return markdown(head, rows)


def _start(cells: Sequence[dict], names: Sequence[str]) -> str:
    phases = ["python", "session", "compute", "commit"]
    rows = [
        [name, spread(c["seconds"]), *(spread(c[f"{phase}_seconds"]) for phase in phases), spread(c["cpu_seconds"])]
        for name, c in zip(names, cells, strict=True)
    ]
    return markdown(["10,000 events", "seconds", *phases, "CPU s"], rows)


def spread(values: Sequence[float]) -> str:
    """Median (least to most)."""
    if not values:
        return ""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _exponent(low: tuple[int, float], high: tuple[int, float]) -> float:
    """The power of the size that the cost grows with, from one size to another."""
    return math.log(high[1] / low[1]) / math.log(high[0] / low[0])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
