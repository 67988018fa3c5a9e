"""The proof: recompute every view from raw with the plain kernel and compare with what serving gives, state for state.

Independent of marts, store, Spark and Beam on one side; through serving on the other. Nothing compared is a failure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import duckdb
import pyarrow as pa
import redis

from lake.cuts import Cut, count, format_time, upper
from lake.dimensions import Dimensions
from lake.domain import Domain
from lake.errors import MartDamaged, MissingCoverage
from lake.kernel import COUNTS, QUARANTINE, Kernel
from lake.log import Log
from lake.marks import marks_of
from lake.pins import store_away
from lake.raw import Raw
from lake.recompute import Recompute, records
from lake.serving import Answer, Serving
from lake.settings import Settings

_EXAMPLES = 5
_KINDS = ("good", "quarantined", "markers", "duplicates")


@dataclass
class ViewReport:
    """One view: rows compared, how many of them got something from either layer, and what differs."""

    view: str
    frontier: str
    cut: Cut
    head: Cut
    rows_compared: int
    from_batch: int
    from_speed: int
    mismatches: int
    examples: list[str]


@dataclass
class Report:
    """A verification; `problems` are sentences, and none of them means that every number is right as of the heads."""

    domain: str
    views: list[ViewReport] = field(default_factory=list)
    partitions: list[dict] = field(default_factory=list)
    raw_records: int = 0
    raw_gaps: int = 0
    raw_duplicates: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict:
        return {**asdict(self), "ok": self.ok}


def verify(settings: Settings, domain: Domain, serving: Serving | None = None) -> Report:
    """Compare everything served with a recompute from raw; what cannot be served at all is a problem, too.

    Raises NotSealed if raw does not come to the head, TidemarkError where raw or the log cannot be read at all.
    """
    serving = serving or Serving(settings, domain)
    report = Report(domain.name)
    try:
        pin = serving.pin()
        answers = {view: serving.merge(view, pin) for view in domain.stored_views}
    except (MartDamaged, MissingCoverage) as error:
        report.problems.append(str(error))
        return report
    except redis.RedisError as error:
        report.problems.append(store_away(error))
        return report
    quarantine = pin.marts[QUARANTINE]
    head = upper([a.head for a in answers.values()] + [quarantine.cut])
    raw = Raw(settings, domain)
    table = raw.await_positions(head, settings.verify_timeout_seconds)
    report.problems += _check_log(Log(settings, domain), raw.positions(table))
    heads = {**{view: answer.head for view, answer in answers.items()}, QUARANTINE: quarantine.cut}
    kernel = Kernel(domain, Dimensions(settings).table)
    # What cannot be read is told once, by the second pass.
    marks = marks_of(kernel, domain, records(raw, table, []), settings.segment_seconds)
    recompute = Recompute(kernel, heads, marks)
    for rows in records(raw, table, report.problems):
        recompute.add(rows)
    _check_raw(report, recompute, raw.positions(table), head)
    for view, answer in answers.items():
        report.views.append(_compare(answer, recompute.states(view)))
    served = serving.quarantine(pin)
    report.views.append(
        _compare(
            Answer(QUARANTINE, quarantine.frontier, quarantine.cut, quarantine.cut, None, served, served, served[:0]),
            recompute.states(QUARANTINE),
        )
    )
    report.problems += [
        f"{v.view}: {v.mismatches} rows differ of {v.rows_compared}" for v in report.views if v.mismatches
    ]
    if not sum(v.rows_compared for v in report.views if v.view != QUARANTINE):
        report.problems.append("nothing was compared: no view has a row yet; produce events first")
    return report


def _check_raw(report: Report, recompute: Recompute, positions: Cut, head: Cut) -> None:
    with duckdb.connect() as db:
        db.register("offsets", pa.concat_tables(recompute.offsets))
        found = db.execute(
            'SELECT "partition", count(*), count(DISTINCT "offset") FROM offsets GROUP BY "partition" ORDER BY 1'
        ).fetchall()
    counted = {row["partition"]: row for row in recompute.states(COUNTS).to_pylist()}
    seen = {partition: (records, distinct) for partition, records, distinct in found}
    for partition in sorted(positions.keys() | seen.keys()):
        records, distinct = seen.get(partition, (0, 0))
        held = positions.get(partition, 0)
        row = counted.get(partition, dict.fromkeys(_KINDS, 0))
        kinds = {kind: row[kind] for kind in _KINDS}
        report.partitions.append(
            {"partition": partition, "offsets": held, "records": records, **kinds, "head": head.get(partition, 0)}
        )
        report.raw_records += records
        report.raw_gaps += held - distinct
        report.raw_duplicates += records - distinct
        if sum(kinds.values()) != records:
            report.problems.append(f"partition {partition}: {records} records, but {kinds} were told apart")
    if report.raw_gaps:
        report.problems.append(f"raw has holes: {report.raw_gaps} of {count({}, positions)} offsets are missing")
    if report.raw_duplicates:
        report.problems.append(f"raw holds {report.raw_duplicates} records more than once")


def _check_log(log: Log, positions: Cut) -> list[str]:
    """Raw against Kafka, as far back as Kafka reaches."""
    begin, end = log.begin(), log.end()
    problems = []
    for partition, held in positions.items():
        if held > end.get(partition, 0):
            problems.append(
                f"partition {partition}: raw holds offsets up to {held}, the log ends at {end.get(partition, 0)}: "
                "the log was truncated or made anew"
            )
    for partition, first in begin.items():
        if positions.get(partition, 0) < first:
            problems.append(
                f"partition {partition}: Kafka begins at {first}, raw ends at {positions.get(partition, 0)}: "
                "what lies between is lost; retention is shorter than the lander's pause"
            )
    return problems


def _compare(answer: Answer, expected: pa.Table) -> ViewReport:
    served, examples, differing = answer.merged, [], 0
    if not served.equals(expected):
        keys = ", ".join(f'"{name}"' for name in expected.column_names)
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            db.register("served", served)
            db.register("expected", expected)
            for what, one, other in (("served", "served", "expected"), ("from raw", "expected", "served")):
                rows = db.execute(f"SELECT {keys} FROM {one} EXCEPT ALL SELECT {keys} FROM {other}").fetchall()
                differing = max(differing, len(rows))
                examples += [f"{what}: {row}"[:300] for row in rows[:_EXAMPLES]]
    return ViewReport(
        view=answer.view,
        frontier=format_time(answer.frontier),
        cut=answer.cut,
        head=answer.head,
        rows_compared=max(len(served), len(expected)),
        from_batch=len(answer.batch),
        from_speed=len(answer.speed),
        mismatches=differing,
        examples=examples,
    )
