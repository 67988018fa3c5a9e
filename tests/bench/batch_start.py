"""Where the time of a small slice goes, a process each: with other flags of the JVM, and one view instead of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.session import JVM_OPTIONS
from lake.cuts import format_time
from lake.errors import TidemarkError
from lake.waiting import wait_until
from tests.bench.batch_slices import PARTITIONS
from tests.bench.bench_lake import T0, T1, BenchLake
from tests.bench.cold_build import Cold, cold_build
from tests.bench.shop_records import ShopRecords

EVENTS = 10_000


def measure_start(lake: BenchLake, repeats: int) -> Iterator[tuple[str, dict]]:
    records = ShopRecords(EVENTS, T0, PARTITIONS)
    made = lake.land(lake.declare("shop_start_x0"), records, 0)

    def build(views: str | None = None, flags: str | None = None) -> Cold:
        lake.forget_tile(made.domain, made.t0)
        return cold_build(lake.environment, made.domain.name, format_time(T1), views, flags)

    archive = _archive(lake, build)
    arms: dict[str, dict[str, str | None]] = {
        "as shipped": {},
        "JVM without flags": {"flags": ""},
        "with a class archive": {"flags": f"{JVM_OPTIONS} -XX:SharedArchiveFile={archive} -Xlog:disable"},
        "one view of seven": {"views": "revenue_by_country_hour"},
    }
    taken: dict[str, list[Cold]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, told in arms.items():
            taken[name].append(build(**told))
    for name, colds in taken.items():
        yield (
            name,
            {
                "events": EVENTS,
                "seconds": [round(c.seconds, 2) for c in colds],
                "cpu_seconds": [round(c.cpu_seconds, 2) for c in colds],
                **{f"{phase}_seconds": [round(c.phases[phase], 2) for c in colds] for phase in colds[0].phases},
            },
        )


def _archive(lake: BenchLake, build: Callable[..., Cold]) -> Path:
    """The classes that a build has loaded, as the JVM maps them at once (JEP 350); written as that JVM ends."""
    archive = lake.settings.home / "spark.jsa"
    build(flags=f"{JVM_OPTIONS} -XX:ArchiveClassesAtExit={archive}")
    sizes: list[int] = []

    def complete() -> bool | None:
        sizes.append(archive.stat().st_size if archive.exists() else 0)
        return True if sizes[-1] and sizes[-2:-1] == sizes[-1:] else None

    wait_until(complete, 60, 1.0, lambda: TidemarkError("the JVM wrote no archive of its classes"))
    return archive
