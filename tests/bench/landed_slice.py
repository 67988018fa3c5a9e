"""A slice as the lander leaves it, a file a second, beside the same slice in large files: what its small files cost.

Both are built in one warm session, taking turns; every build must give the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from lake.cuts import EPOCH, Cut, format_time
from lake.domain import Domain
from lake.raw import Raw
from tests.bench.arms import Answer, Arm
from tests.bench.batch_slices import PARTITIONS
from tests.bench.bench_lake import T0, T1, BenchLake
from tests.bench.shop_records import ShopRecords, markers
from tests.bench.small_files import FILES_A_COMMIT, check, commit_files

WARM_UPS = 1


def measure_landed(lake: BenchLake, events: int, files: int, repeats: int) -> Iterator[tuple[str, dict]]:
    """`events` of an hour in so many files, and in large ones."""
    records = ShopRecords(events, T0, PARTITIONS)
    domains = {"as landed": land_in_files(lake, records, files)}
    domains["in large files"] = lake.land(lake.declare("shop_in_large_files_x0"), records, 0).domain
    with Arm("kernel", lake.environment) as arm:
        taken = built_in_turns(lake, records, domains, {name: arm for name in domains}, repeats)
    for name, domain in domains.items():
        raw = Raw(lake.settings, domain)
        held = raw.files(raw.table())
        yield (
            f"{name} {events}",
            {
                "slice": name,
                "events": events,
                "files": len(held),
                "bytes": sum(file.bytes for file in held),
                "build_seconds": [round(answer.seconds, 3) for answer in taken[name]],
                "build_cpu_seconds": [round(answer.cpu_seconds, 3) for answer in taken[name]],
                "equals_truth": True,
            },
        )


def land_in_files(lake: BenchLake, records: ShopRecords, files: int) -> Domain:
    """A domain whose raw holds the records in so many files, and the seal of T1."""
    domain = lake.declare("shop_as_landed_x0")
    raw = Raw(lake.settings, domain)
    raw.create("topic-1")
    end: Cut = dict.fromkeys(records.heads, 0)
    size = -(-records.count // files)
    small = (block.slice(at, size) for block in records.blocks({}) for at in range(0, len(block), size))
    while commit := list(islice(small, FILES_A_COMMIT)):
        commit_files(raw, commit, end)
    raw.append(raw.table(), markers(T1, end), {p: offset + 1 for p, offset in end.items()})
    return domain


def built_in_turns(
    lake: BenchLake, records: ShopRecords, domains: Mapping[str, Domain], arms: Mapping[str, Arm], repeats: int
) -> dict[str, list[Answer]]:
    """What each build took, of the domain of its name by the arm of its name."""
    taken: dict[str, list[Answer]] = {name: [] for name in domains}
    for turn in range(-WARM_UPS, repeats):
        for name, domain in domains.items():
            lake.forget_tile(domain, EPOCH)
            answer = arms[name].call("build", domain=domain.name, t1=format_time(T1))
            check(lake, domain, records)
            if turn >= 0:
                taken[name].append(answer)
    return taken
